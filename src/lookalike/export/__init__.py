"""From a trained model to one portable file, with the measured difference."""
