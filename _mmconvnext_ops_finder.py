"""Finds ``mmcv._ext`` in mmconvnext where mmcv came without its compiled operators.

A ``.pth`` file of the package imports this module whenever Python starts, so it stands apart from
``mmconvnext`` and imports nothing but what the interpreter has loaded by then. The finder goes to
the end of ``sys.meta_path``: a compiled ``mmcv._ext`` is found before it is asked.
``MMCONVNEXT_OPS=0`` in the environment keeps it out.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

EXTENSION = "mmcv._ext"


class OperatorsLoader:
    """Loader (PEP 451) that fills an empty ``mmcv._ext`` with mmconvnext's operators."""

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave the making of the module to the import system."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill ``module``.

        Raises:
            ModuleNotFoundError: in one line, if mmconvnext or something that it needs is gone or
                broken. Callers that do without mmcv's operators when there are none catch this
                type.
        """
        try:
            from mmconvnext.compat import mmcv_ops

            mmcv_ops.populate(module)
        except Exception as error:
            raise ModuleNotFoundError(
                f"{EXTENSION}: mmcv has no compiled operators, and mmconvnext's could not be "
                f"loaded ({type(error).__name__}: {error}); reinstall mmconvnext, install a "
                f"compiled mmcv, or set MMCONVNEXT_OPS=0",
                name=EXTENSION,
            ) from error


class OperatorsFinder:
    """Meta path finder that knows the one name ``mmcv._ext``."""

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of ``mmcv._ext``, None for every other module."""
        if fullname != EXTENSION:
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(fullname, OperatorsLoader())  # type: ignore[arg-type]


def install() -> None:
    """Put the finder last into ``sys.meta_path``, once, unless ``MMCONVNEXT_OPS=0`` is set."""
    if os.environ.get("MMCONVNEXT_OPS") == "0":
        return
    # Compared by module, not by class: after a reload the class is another one.
    if not any(type(finder).__module__ == __name__ for finder in sys.meta_path):
        sys.meta_path.append(OperatorsFinder())


install()
