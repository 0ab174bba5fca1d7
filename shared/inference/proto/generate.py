"""Makes the code of ``osteofed.proto``: ``python -m shared.inference.proto.generate``.

What is made is checked in, so that nobody needs grpcio-tools but who changes the proto.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

PROTO: Final = "shared/inference/proto/osteofed.proto"
ROOT: Final = Path(__file__).resolve().parents[3]


def generate(out: Path) -> list[Path]:
    """Make the modules and their types under a folder, as they stand in the repository.

    Raises
    ------
    RuntimeError
        If the proto cannot be compiled; the compiler has said why.
    """
    from grpc_tools import protoc

    options = [f"-I{ROOT}", f"--python_out={out}", f"--grpc_python_out={out}", f"--pyi_out={out}"]
    if protoc.main(["protoc", *options, PROTO]):
        raise RuntimeError(f"{PROTO} cannot be compiled")
    return sorted((out / PROTO).parent.glob("osteofed_pb2*"))


if __name__ == "__main__":
    sys.stdout.writelines(f"{path}\n" for path in generate(ROOT))
