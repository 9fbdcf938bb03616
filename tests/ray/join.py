"""Lets this environment see the packages of another one: `python join.py /path/to/its/python`.

Ray runs beside the server's packages, not among them: its own dependencies stay out of .venv, and
the gigabytes of torch and vLLM are there once.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

where = "import sysconfig; print(sysconfig.get_path('purelib'))"
other = subprocess.run([sys.argv[1], "-c", where], capture_output=True, text=True, check=True)
# As a site folder, since editable installs lie in files that only such folders are searched for.
line = f"import site; site.addsitedir({other.stdout.strip()!r})\n"
Path(sysconfig.get_path("purelib"), "zz_project.pth").write_text(line)
