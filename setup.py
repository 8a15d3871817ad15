"""Packaging beyond pyproject.toml: what has to lie beside the modules in a wheel.

- ``configs/`` and ``tools/`` travel as ``mmconvnext/.mim``, where mmengine looks for them;
- ``mmconvnext.pth`` puts the finder of mmcv's operators in place at start-up, in a wheel and in an
  editable install alike.
"""

import base64
import hashlib
import shutil
import zipfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
CARRIED = ("configs", "tools")
CARRIED_KINDS = (".py", ".csv")
PTH = "mmconvnext.pth"


class BuildPy(build_py):
    """Adds the carried folders and the .pth file to an ordinary build."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        for source, target in self._carried_files():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode=True):
        outputs = super().get_outputs(include_bytecode)
        if self.editable_mode:
            return outputs
        return outputs + [str(target) for _, target in self._carried_files()]

    def _carried_files(self):
        build_lib = Path(self.build_lib)
        yield ROOT / PTH, build_lib / PTH
        for folder in CARRIED:
            files = [f for f in (ROOT / folder).rglob("*") if f.suffix in CARRIED_KINDS]
            for source in sorted(files):
                yield source, build_lib / "mmconvnext" / ".mim" / source.relative_to(ROOT)


class EditableWheel(editable_wheel):
    """Adds the .pth file to an editable wheel, which holds no build output."""

    def run(self):
        before = set(Path(self.dist_dir or "dist").glob("*.whl"))
        super().run()
        (wheel,) = set(Path(self.dist_dir).glob("*.whl")) - before
        add_to_wheel(wheel, PTH, (ROOT / PTH).read_bytes())


def add_to_wheel(wheel, name, content):
    """Append one file to a wheel and to its RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    fresh = wheel.with_suffix(".tmp")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename.endswith(".dist-info/RECORD"):
                data += f"{name},sha256={digest},{len(content)}\n".encode()
            new.writestr(item, data)
        new.writestr(name, content)
    fresh.replace(wheel)


setup(cmdclass={"build_py": BuildPy, "editable_wheel": EditableWheel})
