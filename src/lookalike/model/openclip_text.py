"""Text towers of OpenCLIP, with the weights of the same file as the image tower."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lookalike.errors import ConfigError, LookalikeError
from lookalike.model.openclip import FOLDER, describe_text, import_openclip
from lookalike.model.text_encoders import Spec, TextEncoder
from lookalike.model.weights import State, load_weights, read_weights


class OpenClipText(TextEncoder):
    """The text tower of an OpenCLIP model, without weights.

    Args:
        spec: name, and tower, the arguments that build it.

    Raises:
        ConfigError: its tokenizer is not part of OpenCLIP.
        LookalikeError: the package is missing.
    """

    def __init__(self, spec: Spec):
        super().__init__()
        library, tower = import_openclip(), spec["tower"]
        text = tower["text"]
        if text.get("hf_model_name") or text.get("hf_tokenizer_name"):
            raise ConfigError(
                f"text_encoder.name={spec['name']}: its texts are read by another library (transformers); "
                "give a text encoder of your own: 'text_encoder={_target_: …}'"
            )
        self.net: nn.Module = library.model._build_text_tower(
            tower["dim"], {**text, "output_tokens": False}, tower["quick_gelu"]
        )
        self.tokenize = library.tokenizer.SimpleTokenizer(
            context_length=text.get("context_length", 77), **(text.get("tokenizer_kwargs") or {})
        )
        if self.tokenize.vocab_size > text.get("vocab_size", self.tokenize.vocab_size):
            raise ConfigError(
                f"text_encoder.name={spec['name']}: its vocabulary of {text['vocab_size']} is not the "
                f"{self.tokenize.vocab_size} of OpenCLIP's tokenizer"
            )
        self.spec, self.dim = spec, int(tower["dim"])

    def forward(self, texts: Sequence[str]) -> Tensor:
        """See `TextEncoder.forward`; longer texts are cut, as in training of the published models."""
        device = next(self.net.parameters()).device
        return self.net(self.tokenize(list(texts)).to(device))


def openclip_text(
    name: str = "ViT-B-32",
    tag: str | None = "laion2b_s34b_b79k",
    pretrained: bool = True,
    weights: str | None = None,
) -> TextEncoder:
    """The text tower of an OpenCLIP model; the arguments are those of `lookalike.model.openclip.openclip`.

    Args:
        name: as in `open_clip.list_models()`, or hf-hub:OWNER/NAME, or local-dir:FOLDER.
        tag: which published weights of `name`.
        pretrained: take these weights (needs the network the first time).
        weights: a local file of weights, of the whole model or of the text tower, in their place.

    Raises:
        ConfigError: `name` or `tag` is unknown, or the tokenizer is not part of OpenCLIP.
        LookalikeError: the package is missing, or the weights cannot be had or do not fit.
    """
    tower, find_weights = describe_text(name, tag, pretrained and weights is None)
    title = Path(name).name if name.startswith(FOLDER) else name
    encoder = OpenClipText({"kind": "openclip", "name": title, "tower": tower})
    if weights is not None or pretrained:
        file = Path(weights) if weights is not None else find_weights()
        state = _text_weights(read_weights(file), file)
        load_weights(encoder.net, state, file, f"the text tower of {name}")
    return encoder


def _text_weights(state: State, file: Path) -> State:
    """The weights of the text tower among those of a whole model, in the names of a tower of its own.

    Raises:
        LookalikeError: there are none.
    """
    library: Any = import_openclip()
    renamed = library.model.convert_to_custom_text_state_dict(dict(state))
    tower = {name.removeprefix("text."): each for name, each in renamed.items() if name.startswith("text.")}
    if not tower and any(name.startswith("visual.") for name in state):
        raise LookalikeError(f"{file}: holds an image tower alone; the weights of the whole model are needed")
    return {name: each for name, each in (tower or state).items() if name != "attn_mask"}
