"""The report: one run and its evaluation on one page that needs nothing but a browser."""
