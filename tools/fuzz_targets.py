"""The readers of files that users hand in, as `tools.fuzz_readers` tries them."""

from tools.fuzz_data import DATA_READERS
from tools.fuzz_models import MODEL_READERS
from tools.fuzz_worker import Reader

READERS: tuple[Reader, ...] = (*DATA_READERS, *MODEL_READERS)
