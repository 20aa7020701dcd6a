"""A tiny image: one layer with one file, as blobs and as an OCI layout on disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True)
class Image:
    """An image whose one file, `/hello`, says `text`; the same text gives the same digests."""

    text: str = "hello\n"

    @cached_property
    def layer(self) -> bytes:
        return gzip.compress(self._tar, mtime=0)

    @cached_property
    def config(self) -> bytes:
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(self._tar)]},
            "history": [{"created": "2025-01-01T00:00:00Z", "created_by": "tests"}],
        }
        return json.dumps(document).encode()

    @cached_property
    def manifest(self) -> bytes:
        """The manifest as docker pushes it (schema 2)."""
        return self._manifest(MANIFEST, CONFIG, LAYER)

    def write_oci_layout(self, folder: Path, tag: str = "1") -> str:
        """Write the image as an OCI layout; returns what skopeo calls it, `oci:FOLDER:TAG`."""
        manifest = self._manifest(OCI_MANIFEST, OCI_CONFIG, OCI_LAYER)
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for blob in (self.layer, self.config, manifest):
            (blobs / digest(blob).removeprefix("sha256:")).write_bytes(blob)
        entry = _descriptor(OCI_MANIFEST, manifest)
        entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        return f"oci:{folder}:{tag}"

    @cached_property
    def _tar(self) -> bytes:
        out, content = io.BytesIO(), self.text.encode()
        with tarfile.open(fileobj=out, mode="w") as archive:
            member = tarfile.TarInfo("hello")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        return out.getvalue()

    def _manifest(self, media_type: str, config_type: str, layer_type: str) -> bytes:
        document = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": _descriptor(config_type, self.config),
            "layers": [_descriptor(layer_type, self.layer)],
        }
        return json.dumps(document).encode()


def digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(blob), "size": len(blob)}
