"""Every shape and type written in a signature is checked while the tests run."""

from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("workbench", "beartype.beartype")

settings.register_profile("workbench", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("workbench")
