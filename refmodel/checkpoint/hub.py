"""Models of the Hugging Face Hub: each file is fetched when it is asked for, and only those that are read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from refmodel.checkpoint.folder_files import INDEX, SINGLE, shard_names
from refmodel.checkpoint.safetensors_folder import SafetensorsFolder
from refmodel.specification import ModelConfig
from refmodel.tokenizer.chat import ChatTemplate
from refmodel.tokenizer.folder import FILES, TEMPLATE_FILES

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class HubModel:
    """The model `owner/name`: first config.json alone, whose refusal costs no gigabytes; the weights last."""

    weights = "checkpoint"

    def __init__(self, repo_id: str) -> None:
        self.repo_id = repo_id
        self.folder = _fetched(repo_id, ["config.json"])

    @cached_property
    def described(self) -> ModelConfig:
        """What config.json says: no weight is here yet."""
        return SafetensorsFolder(self.folder).described

    def tokenizer(self) -> Tokenizer:
        return SafetensorsFolder(self._with(FILES)).tokenizer()

    def end_tokens(self) -> tuple[int, ...]:
        return SafetensorsFolder(self._with(["generation_config.json"])).end_tokens()

    def chat_template(self) -> ChatTemplate | None:
        return SafetensorsFolder(self._with(TEMPLATE_FILES)).chat_template()

    def fetched(self) -> SafetensorsFolder:
        """The folder, once all its files that are read are on this machine."""
        self._with([SINGLE])
        if not (self.folder / SINGLE).exists():
            self._with([INDEX])
            if (self.folder / INDEX).exists():
                self._with(shard_names(self.folder / INDEX))
        return SafetensorsFolder(self.folder)

    def _with(self, names: Sequence[str]) -> Path:
        """The folder, with those of the named files that there are."""
        folder = _fetched(self.repo_id, names)
        if folder != self.folder:
            raise ValueError(f"{self.repo_id} changed on the Hub while it was fetched; run the command again")
        return folder


def _fetched(repo_id: str, names: Sequence[str]) -> Path:
    try:
        from huggingface_hub import snapshot_download  # optional: the extra `hub`
    except ImportError as error:
        raise ValueError(f"{repo_id!r} looks like a Hub id; reading it needs `pip install huggingface_hub`") from error
    try:
        return Path(snapshot_download(repo_id, allow_patterns=list(names)))
    except Exception as error:  # the package raises many unrelated kinds, from requests' to its own
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        raise ValueError(f"cannot fetch {repo_id!r} from the Hub ({type(error).__name__}: {reason})") from error
