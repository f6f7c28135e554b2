"""Prints pages to PDF with a Chromium on this machine; without one the report has no PDF, and says so.

The files are tagged, with title, language, outline and page numbers, all from the HTML. Printing the same page again
with the same Chromium gives the same bytes: what Chromium adds of its own, the moment of printing, is blanked.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.files import replacing, sha256_file, sha256_text

CHROMIUM = "SOZIALRAUM_CHROMIUM"
"""Environment variable: path of the browser that prints, or `aus` to do without PDF."""
OFF = "aus"
SHORT = "/tmp"
"""Where the browser works: its socket needs a path of less than 108 bytes."""
NAMES = ("chromium", "chromium-browser", "google-chrome")
SIDE_BY_SIDE = 2
"""Browsers at a time; each takes about 200 MB."""
TIMEOUT = 180
"""Seconds for one file; a table book of 80 pages takes about three."""
SCRATCH = "sozialraum-druck-"
"""Prefix of temporary folders."""
_SHEET = re.compile(r'<link rel="stylesheet" href="(?P<file>[^":]+)">')
_LINK = re.compile(r'<a( [^>]*?)? href="(?!#|https?:|mailto:)[^"]*"([^>]*)')
_MOMENT = re.compile(rb"/(?:CreationDate|ModDate) ?\(D:[^)]*\)")
_ADVICE = (
    "Die Seiten selbst sind vollständig. Zum Nachholen Chromium einrichten (Paket »chromium«, oder seinen Pfad in "
    f"{CHROMIUM} nennen); wer keine PDF braucht, setzt {CHROMIUM}={OFF}."
)


class NotPrinted(Exception):
    """A page could not be printed; the text says why, in German."""


def find_browser() -> Path | None:
    """The browser that prints, or None where PDF are switched off.

    Raises:
        NotPrinted: there is none.
    """
    named = os.environ.get(CHROMIUM, "")
    if named == OFF:
        return None
    if named:
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise NotPrinted(f"{CHROMIUM} nennt {named}, dort liegt kein ausführbares Programm")
        return Path(named)
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise NotPrinted(f"auf diesem Rechner ist kein Chromium ({', '.join(NAMES)})")
    return Path(found)


def print_pages(pairs: list[tuple[Path, Path]], cache: Path) -> str | None:
    """Print pages to PDF files; those that were printed before come from the cache.

    Args:
        pairs: page and file to write; the page's style sheets lie where its links say.
        cache: folder of the files printed before, by what they were printed from; those no longer wanted are removed.

    Returns:
        None if all is well or PDF are switched off; else a note for people. Files that could be printed are there.
    """
    try:
        browser = find_browser()
    except NotPrinted as problem:
        return f"Der Bericht hat keine PDF-Dateien: {problem}. {_ADVICE}"
    if browser is None or not pairs:
        return None
    cache.mkdir(parents=True, exist_ok=True)
    texts = {page: _standalone(page) for page, _ in pairs}
    keys = {page: sha256_text(text, Path(__file__).read_text(encoding="utf-8")) for page, text in texts.items()}
    missing = [page for page in texts if _kept(cache, keys[page]) is None]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        done = pool.map(lambda page: _print_one(browser, page.name, texts[page], cache, keys[page]), missing)
        problems = [problem for problem in done if problem]
    wanted = set()
    for page, target in pairs:
        kept = _kept(cache, keys[page])
        if kept is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(kept, target)
            wanted.add(kept)
    for old in set(cache.iterdir()) - wanted:
        old.unlink()
    if not problems:
        return None
    count = "fehlt eine PDF-Datei" if len(problems) == 1 else f"fehlen {len(problems)} PDF-Dateien"
    return f"Dem Bericht {count}; {problems[0]}. {_ADVICE}"


def _standalone(page: Path) -> str:
    """A page with its style sheets inside and without links to other pages, which would hold paths of this machine."""

    def sheet(found: re.Match[str]) -> str:
        return f"<style>{(page.parent / found['file']).read_text(encoding='utf-8')}</style>"

    return _LINK.sub(r"<a\1\2", _SHEET.sub(sheet, page.read_text(encoding="utf-8")))


def _kept(cache: Path, key: str) -> Path | None:
    """The file printed under a key; one whose content is not what its name says counts as absent."""
    return next((file for file in cache.glob(f"{key}-*.pdf") if file.stem.endswith(sha256_file(file))), None)


def _print_one(browser: Path, title: str, text: str, cache: Path, key: str) -> str | None:
    """Print one page in a browser of its own, into the cache; what went wrong, or None."""
    # Not where this process keeps its own scratch: Chromium's socket needs a short path, and the page is public.
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=SHORT, ignore_cleanup_errors=True) as name:
        page, printed = Path(name) / "seite.html", Path(name) / "seite.pdf"
        try:
            page.write_text(text, encoding="utf-8")
            _run(browser, page, printed, Path(name))
            content = _MOMENT.sub(lambda found: b" " * len(found[0]), printed.read_bytes())
            if not content.startswith(b"%PDF-") or not content.rstrip().endswith(b"%%EOF"):
                raise NotPrinted("Chromium hat eine unvollständige Datei geschrieben")
            with replacing(cache / f"{key}-{hashlib.sha256(content).hexdigest()}.pdf") as temporary:
                temporary.write_bytes(content)
        except NotPrinted as problem:
            return f"{title}: {problem}"
        except OSError as problem:
            return f"{title}: {problem.strerror}"
    return None


def _run(browser: Path, page: Path, printed: Path, home: Path) -> None:
    """Run the browser without network, in a home of its own, and end it with all its children when it hangs."""
    command = [
        str(browser),
        "--headless",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),  # Chromium's sandbox refuses to run as root
        "--disable-gpu",
        "--disable-dev-shm-usage",  # containers have too little of it
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--no-first-run",
        f"--user-data-dir={home / 'profil'}",
        "--no-pdf-header-footer",
        "--generate-pdf-document-outline",
        f"--print-to-pdf={printed}",
        page.resolve().as_uri(),
    ]
    # Nothing of our environment is the browser's business; the locale decides nothing, since pages name their language.
    environment = {"HOME": str(home), "PATH": os.defpath, "LANG": "C.UTF-8", "TMPDIR": str(home)}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        code = process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        raise NotPrinted(f"Chromium war nach {TIMEOUT} Sekunden nicht fertig") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code != 0 or not printed.is_file():
        raise NotPrinted(f"Chromium endete mit Code {code}, ohne zu drucken")
