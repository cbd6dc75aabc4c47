"""Beside setup.cfg: a wheel has the studies of experiments/ inside the package, so that
`recsys-posttrain run movielens_main` works without a checkout. They are kept once."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithStudies(build_py):
    def run(self):
        super().run()
        if self.editable_mode:  # they are found beside the package
            return
        for file in sorted(Path("experiments").rglob("*.py")):
            target = Path(self.build_lib, "recsys_posttrain", file)
            self.mkpath(str(target.parent))
            self.copy_file(str(file), str(target))


setup(cmdclass={"build_py": WithStudies})
