"""What starting costs: `import delineate` beyond numpy, and `delineate --help`; wall time, best of several processes.

python benchmarks/startup.py
"""

import subprocess
import sys
import time

IMPORT = (
    "import time, numpy; start = time.perf_counter(); import delineate; print(time.perf_counter() - start)"
)
REPEATS = 7


def main() -> None:
    beyond = min(
        float(
            subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True).stdout
        )
        for _ in range(REPEATS)
    )
    helped = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "delineate", "--help"], capture_output=True, check=True)
        helped.append(time.perf_counter() - start)
    print(f"import delineate, beyond numpy: {beyond:.3f} s")
    print(f"delineate --help: {min(helped):.2f} s")


if __name__ == "__main__":
    main()
