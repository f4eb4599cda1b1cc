"""The rules about web servers, ``PC9xx``: what came back for the requests that viewers send, directory by directory."""

from __future__ import annotations

import re
from collections.abc import Iterator

from precast.checks.hosting_answers import MISSING, REFUSED, Asked, Content, Place, Site
from precast.checks.rules import Fault, RuleTable
from precast.findings import Severity
from precast.storage.encodings import SUFFIXES

__all__ = ["ORIGIN", "PLACE", "SITE"]

ORIGIN = "https://neuroglancer-demo.appspot.com"
"""The page that the requests come from, as the server is told."""
MOST_SECONDS = 300
"""How long something that is rewritten may be taken from a cache before that is told."""

SITE: RuleTable[Site] = RuleTable()
PLACE: RuleTable[Place] = RuleTable()


# ---- reaching it


@PLACE.add(
    "PC900",
    "what makes a dataset visible can be read by anybody",
    hint="make the objects public, and check the address: some stores say 403 of what is not there",
)
def root_readable(place: Place) -> Iterator[Fault]:
    for one in place.wholes:
        if one.root and one.asked.answer is not None and one.asked.status not in (200, *REFUSED):
            yield one.asked.url, f"the server answers with status {one.asked.status}"


@PLACE.add(
    "PC901",
    "no password is needed",
    hint="viewers send none to plain addresses: make the objects public, or use a path that nobody guesses",
)
def no_credentials(place: Place) -> Iterator[Fault]:
    asked = next((one for one in place.asked if one.status in REFUSED), None)
    if asked is not None:
        yield asked.url, f"the server answers with status {asked.status}: it wants to know who asks"


@PLACE.add(
    "PC902",
    "JSON files are JSON, not a page",
    hint="the server must answer with the file itself, and with 404 if there is none",
)
def json_is_json(place: Place) -> Iterator[Fault]:
    for one in place.contents(Content.WRONG):
        if one.kind.rule.content_type == "application/json":
            yield one.asked.url, one.text


@SITE.add("PC903", "the certificate of a server is valid", hint="renew it, with its whole chain; certbot does")
def certificate_valid(site: Site) -> Iterator[Fault]:
    if site.certificate:
        yield site.url, site.certificate


@SITE.add(
    "PC904",
    "data are served over https",
    severity=Severity.WARNING,
    hint="viewers on https, as the public ones are, may not load http addresses but of the machine they run on",
)
def served_securely(site: Site) -> Iterator[Fault]:
    if site.url.startswith("http:") and not site.local:
        yield site.url, "the address begins with http"


@PLACE.add("PC905", "every request gets a whole answer", hint="see the log of the server")
def answered(place: Place) -> Iterator[Fault]:
    for one in place.asked:
        if one.answer is None:
            yield one.url, one.problem


@SITE.add(
    "PC906",
    "files whose names begin with a dot are not served",
    severity=Severity.WARNING,
    hint="they tell where the data came from; keep them away, or leave them out of what is copied",
)
def nothing_hidden(site: Site) -> Iterator[Fault]:
    for one in site.hidden:
        if one.status == 200:
            yield one.url, "can be read by anybody"


# ---- other origins


def _origins(asked: Asked) -> list[str]:
    return [value.strip() for value in asked.header("access-control-allow-origin").split(",") if value.strip()]


def _closed(asked: Asked) -> str:
    """Return why pages of other origins may not read an answer, if that is so."""
    origins = _origins(asked)
    if not origins:
        return "Access-Control-Allow-Origin is missing"
    if len(origins) == 1 and origins[0] not in ("*", ORIGIN):
        return f"Access-Control-Allow-Origin lets only pages of {origins[0]:.80} read"
    return ""


def _first_closed(place: Place, *statuses: int) -> Iterator[Fault]:
    for one in place.sent(*statuses):
        problem = _closed(one)
        if problem:
            yield one.url, f"{problem} ({one.method}, status {one.status})"
            return


@PLACE.add(
    "PC910",
    "pages of other origins may read whole objects",
    hint="Access-Control-Allow-Origin: * belongs to every answer; without it a viewer shows black, without an error",
)
def wholes_open(place: Place) -> Iterator[Fault]:
    yield from _first_closed(place, 200)


@PLACE.add(
    "PC911",
    "pages of other origins may read ranges",
    hint="Access-Control-Allow-Origin: * belongs to answers with status 206 too",
)
def ranges_open(place: Place) -> Iterator[Fault]:
    yield from _first_closed(place, 206)


@PLACE.add(
    "PC912",
    "pages of other origins may see that something is not there",
    severity=Severity.WARNING,
    hint="Access-Control-Allow-Origin: * belongs to errors too; without it they look like a lost connection",
)
def errors_open(place: Place) -> Iterator[Fault]:
    yield from _first_closed(place, *range(400, 600))


@PLACE.add(
    "PC913",
    "Access-Control-Allow-Origin has one value",
    hint="two places set it, for example a server and what stands before it; browsers refuse that: leave one",
)
def one_origin(place: Place) -> Iterator[Fault]:
    for one in place.asked:
        if len(_origins(one)) > 1:
            yield one.url, f"Access-Control-Allow-Origin is {one.header('access-control-allow-origin')!r:.80}"
            return


@PLACE.add(
    "PC914",
    "pages of other origins see Content-Range and Content-Encoding",
    severity=Severity.WARNING,
    hint="Access-Control-Expose-Headers: Content-Range, Content-Length, Content-Encoding, Accept-Ranges, ETag",
)
def headers_exposed(place: Place) -> Iterator[Fault]:
    for one in place.sent(200, 206):
        shown = {word.strip().lower() for word in one.header("access-control-expose-headers").split(",")}
        lacking = [name for name in ("content-encoding", "content-range") if one.header(name) and name not in shown]
        if one.method == "GET" and lacking and "*" not in shown and not _closed(one):
            yield one.url, f"{' and '.join(lacking)} cannot be seen (status {one.status})"
            return


@PLACE.add(
    "PC915",
    "pages of other origins may follow redirections",
    hint="use the address that it leads to, or send Access-Control-Allow-Origin: * with the redirection",
)
def redirections_open(place: Place) -> Iterator[Fault]:
    for one in place.asked:
        for hop in one.hops:
            problem = _closed(Asked(one.method, hop.url, hop))
            if problem:
                yield hop.url, f"{problem} (redirection to {hop.headers.get('location', '')!r:.120})"
                return


@PLACE.add(
    "PC916",
    "answers that are for one origin say so to caches",
    severity=Severity.WARNING,
    hint="send Access-Control-Allow-Origin: *, or Vary: Origin; otherwise caches give them to viewers on other pages",
)
def origin_varies(place: Place) -> Iterator[Fault]:
    for one in place.sent(200, 206):
        varies = {word.strip().lower() for word in one.header("vary").split(",")}
        if _origins(one) == [ORIGIN] and not varies & {"origin", "*"}:
            yield one.url, "Access-Control-Allow-Origin is the page that asks, and there is no Vary: Origin"
            return


# ---- OPTIONS, HEAD


def _listed(asked: Asked, header: str) -> set[str]:
    return {word.strip().lower() for word in asked.header(f"access-control-{header}").split(",")}


@PLACE.add(
    "PC920",
    "OPTIONS is answered",
    severity=Severity.WARNING,
    hint="older browsers ask so before they read a range; answer 204 with the headers of the others",
)
def preflight_answered(place: Place) -> Iterator[Fault]:
    asked = place.preflight
    if asked is not None and asked.answer is not None and not 200 <= asked.status < 300:
        yield asked.url, f"OPTIONS is answered with status {asked.status}"


def _preflight(place: Place) -> Asked | None:
    return place.preflight if place.preflight is not None and 200 <= place.preflight.status < 300 else None


@PLACE.add(
    "PC921",
    "the answer to OPTIONS allows Range",
    severity=Severity.WARNING,
    hint="Access-Control-Allow-Headers: Range; older browsers read no shards without it",
)
def range_allowed(place: Place) -> Iterator[Fault]:
    asked = _preflight(place)
    if asked is not None and not _listed(asked, "allow-headers") & {"range", "*"}:
        told = asked.header("access-control-allow-headers")
        yield asked.url, f"Access-Control-Allow-Headers is {told!r:.80}" if told else "no headers are allowed"


@PLACE.add(
    "PC922",
    "the answer to OPTIONS names the method of reading",
    severity=Severity.INFO,
    hint="Access-Control-Allow-Methods: GET, HEAD, OPTIONS; the standard allows GET and HEAD in any case",
)
def methods_allowed(place: Place) -> Iterator[Fault]:
    asked = _preflight(place)
    listed = _listed(asked, "allow-methods") if asked is not None else {"*"}
    if asked is not None and not listed & {"*", "get"}:
        told = asked.header("access-control-allow-methods")
        yield asked.url, f"Access-Control-Allow-Methods is {told!r:.80}" if told else "no methods are named"


@PLACE.add(
    "PC923",
    "HEAD of the info is answered as GET is",
    severity=Severity.WARNING,
    hint="viewers need it to find out the format of an address without |neuroglancer-precomputed: behind it",
)
def head_answered(place: Place) -> Iterator[Fault]:
    if place.head is not None and place.head.answer is not None and place.head.status != 200:
        yield place.head.url, f"HEAD is answered with status {place.head.status}"


@PLACE.add(
    "PC924",
    "the answer to HEAD says the length of the info",
    severity=Severity.WARNING,
    hint="viewers need it to find out the format of an address; do not pack JSON on the way",
)
def head_length(place: Place) -> Iterator[Fault]:
    if place.head is not None and place.head.status == 200 and not place.head.header("content-length").isdigit():
        yield place.head.url, "Content-Length is missing in the answer to HEAD"


@PLACE.add(
    "PC925",
    "pages of other origins may read the answer to OPTIONS",
    severity=Severity.WARNING,
    hint="Access-Control-Allow-Origin: * belongs to the answer to OPTIONS too",
)
def preflight_open(place: Place) -> Iterator[Fault]:
    asked = _preflight(place)
    problem = _closed(asked) if asked is not None else ""
    if asked is not None and problem:
        yield asked.url, problem


# ---- whole objects


@PLACE.add(
    "PC930",
    "gzipped objects are labelled",
    hint="send Content-Encoding: gzip with them; viewers unpack nothing themselves",
)
def gzip_labelled(place: Place) -> Iterator[Fault]:
    for one in place.contents(Content.UNLABELLED):
        yield one.asked.url, "the bytes are gzip, and there is no Content-Encoding"


@PLACE.add("PC931", "Content-Encoding is true", hint="send it only with what is packed so; browsers refuse the object")
def label_true(place: Place) -> Iterator[Fault]:
    for one in place.contents(Content.MISLABELLED):
        yield one.asked.url, one.text


@PLACE.add(
    "PC932",
    "objects are packed once",
    hint="what is stored gzipped is packed again by the server or on upload; do it in one of the places",
)
def packed_once(place: Place) -> Iterator[Fault]:
    for one in place.contents(Content.TWICE):
        yield one.asked.url, f"is {one.asked.header('content-encoding')} of gzip"


@PLACE.add(
    "PC933",
    "objects are packed as browsers ask for",
    hint="gzip is taken by all of them; br only over https and from the own machine",
)
def encoding_wanted(place: Place) -> Iterator[Fault]:
    for one in place.contents(Content.FOREIGN):
        yield one.asked.url, one.text


@PLACE.add(
    "PC934", "objects decode", hint="upload it again; precast check of the local copy says whether that is whole"
)
def objects_decode(place: Place) -> Iterator[Fault]:
    for one in place.contents(Content.WRONG):
        if one.kind.rule.content_type != "application/json":
            yield one.asked.url, one.text


@PLACE.add("PC935", "what the info names can be read", hint="upload it, and make it public")
def parts_readable(place: Place) -> Iterator[Fault]:
    for one in place.wholes:
        if not one.root and one.asked.answer is not None and one.asked.status not in (200, 206, *REFUSED):
            yield one.asked.url, f"the server answers with status {one.asked.status}"


@PLACE.add(
    "PC936",
    "X.gz or X.br is served as X",
    hint="the server must send X.gz for X, with Content-Encoding: gzip; or convert with --compress none, or sharded",
)
def packed_mapped(place: Place) -> Iterator[Fault]:
    if place.unmapped and not place.found:
        name = place.unmapped[0].partition("?")[0]
        if name.endswith(SUFFIXES["br"]):
            text = "is there, but not under the name without .br; few servers can send it so: make it .gz instead"
            yield place.unmapped[0], f"{text} (igneous image xfer --compress gzip)"
        else:
            yield place.unmapped[0], "is there, but not under the name without .gz"


# ---- ranges


@PLACE.add("PC940", "the server knows ranges", hint="viewers read shards and meshes in pieces: serve them with ranges")
def ranges_known(place: Place) -> Iterator[Fault]:
    for one in place.ranges:
        if one.asked.status == 200:
            yield one.asked.url, "Range is ignored: status 200 and the whole file"
            return


@PLACE.add("PC941", "a range has exactly the bytes that were asked for", hint="see what stands before the server")
def ranges_exact(place: Place) -> Iterator[Fault]:
    for one in place.ranges:
        answer = one.asked.answer
        if answer is not None and answer.status == 206 and not one.encoded and not one.exact:
            amount = f"{len(answer.body)}{'' if answer.whole else ' or more'} bytes"
            yield one.asked.url, f"bytes {one.first} to {one.last} were asked for, {amount} came"
            return


@PLACE.add(
    "PC942",
    "a range has no Content-Encoding",
    hint="store and send what is read by ranges as it is: a piece of packed bytes cannot be unpacked",
)
def ranges_plain(place: Place) -> Iterator[Fault]:
    for one in place.ranges:
        if one.asked.status == 206 and one.encoded:
            yield one.asked.url, f"has Content-Encoding {one.asked.header('content-encoding')!r:.40} on status 206"
            return


@PLACE.add("PC943", "Content-Range says what was sent", hint="see what stands before the server")
def range_told(place: Place) -> Iterator[Fault]:
    for one in place.ranges:
        text = one.asked.header("content-range")
        if one.asked.status != 206 or not text:
            continue
        if one.told is None or one.told[:2] != (one.first, one.end):
            yield one.asked.url, f"bytes {one.first} to {one.last} were asked for, Content-Range is {text!r:.60}"
            return


@PLACE.add(
    "PC944", "answers to ranges have Content-Range", severity=Severity.WARNING, hint="see what stands before the server"
)
def range_says(place: Place) -> Iterator[Fault]:
    for one in place.ranges:
        if one.asked.status == 206 and not one.asked.header("content-range"):
            yield one.asked.url, "Content-Range is missing on status 206"
            return


@PLACE.add("PC945", "ranges hold the bytes of their place", hint="see what stands before the server, and its cache")
def ranges_right(place: Place) -> Iterator[Fault]:
    if place.mixed and place.ranges:
        yield place.ranges[0].asked.url, place.mixed


@PLACE.add(
    "PC946",
    "ranges are exact for programs that take gzip",
    severity=Severity.WARNING,
    hint="browsers refuse gzip with a range, but Python's HTTP libraries, cloud-volume among them, do not: do not pack "
    "shards on the way",
)
def ranges_for_all(place: Place) -> Iterator[Fault]:
    one = place.eager
    if one is None or one.asked.answer is None or one.exact:
        return
    encoding = one.asked.header("content-encoding")
    text = f"with Accept-Encoding: gzip, a range is answered with status {one.asked.status}"
    yield one.asked.url, f"{text}, {encoding}" if one.encoded else text


@PLACE.add("PC947", "a range is answered with 206", hint="see the log of the server")
def range_status(place: Place) -> Iterator[Fault]:
    for one in place.ranges:
        if one.asked.answer is not None and one.asked.status not in (200, 206, *REFUSED):
            yield one.asked.url, f"a range is answered with status {one.asked.status}"
            return


@PLACE.add(
    "PC948",
    "what is read by ranges is not gzipped",
    hint="store and send shards and fragments of meshes as they are: viewers unpack nothing themselves",
)
def ranges_not_packed(place: Place) -> Iterator[Fault]:
    if place.packed:
        yield place.ranges[0].asked.url, "the bytes are gzip"


# ---- what is not there


@PLACE.add(
    "PC950",
    "what is not there is not answered with a page",
    hint="answer 404; a page with status 200 is taken for data",
)
def no_soft_404(place: Place) -> Iterator[Fault]:
    for one in place.missing:
        if one.status in (200, 206):
            kind = one.header("content-type").partition(";")[0]
            yield one.url, f"cannot be there, and is answered with status {one.status}{f', {kind}' if kind else ''}"
            return


@PLACE.add(
    "PC951",
    "what is not there is answered with 404",
    severity=Severity.INFO,
    hint="S3 says 403 unless everybody may list the bucket; viewers take it for 404, but so they do if objects are not "
    "public",
)
def missing_is_404(place: Place) -> Iterator[Fault]:
    for one in place.missing:
        if one.status == 403:
            yield one.url, "is not there, and is answered with status 403"
            return


@PLACE.add("PC952", "what is not there is no failure", hint="answer 404; viewers try other errors again for minutes")
def missing_no_failure(place: Place) -> Iterator[Fault]:
    for one in place.missing:
        if one.answer is not None and one.status not in (200, 206, *MISSING, 403, *REFUSED):
            yield one.url, f"is not there, and is answered with status {one.status}"
            return


@PLACE.add(
    "PC953",
    "the name of a directory is not redirected",
    severity=Severity.INFO,
    hint="viewers take it for missing; a server need not show directories at all",
)
def directory_not_redirected(place: Place) -> Iterator[Fault]:
    if place.bare is not None and place.bare.to_directory:
        yield place.bare.url, f"status {place.bare.status} leads to {place.bare.header('location')!r:.120}"


@PLACE.add(
    "PC954",
    "some object of a directory is found",
    severity=Severity.WARNING,
    hint="if the data are not that sparse, look whether they were uploaded, and under these names",
)
def something_found(place: Place) -> Iterator[Fault]:
    if place.tried and not (place.found or place.sparse or place.unmapped or place.misnamed):
        statuses = sorted({one.status for one in place.asked if one.absent and one not in place.missing})
        told = f" (status {', '.join(map(str, statuses))})" if statuses else ""
        yield place.url, f"{place.tried} were asked for all over, and none of them is there{told}"


@PLACE.add(
    "PC955",
    "names with a colon are found",
    hint="manifests of meshes are called ID:0: rename the files, or take them from a system that has such names",
)
def colons_found(place: Place) -> Iterator[Fault]:
    for url, other in place.misnamed:
        yield url, f"is not there, and {other} is"


# ---- caches


def _seconds(asked: Asked) -> int | None:
    """Return how long an answer may be kept, if that is said."""
    words = [word.strip().lower() for word in asked.header("cache-control").split(",")]
    if {"no-store", "no-cache"} & set(words):
        return 0
    ages = [int(match[1]) for word in words if (match := re.fullmatch(r"max-age=\"?(\d+)\"?", word))]
    return ages[0] if ages else None


@PLACE.add(
    "PC960",
    "what is rewritten in place is asked for again",
    severity=Severity.WARNING,
    hint="send Cache-Control: no-cache with info, provenance and precast.json; otherwise an old info meets new data",
)
def rewritten_fresh(place: Place) -> Iterator[Fault]:
    for one in place.wholes:
        seconds = _seconds(one.asked)
        if one.asked.status == 200 and not one.kind.rule.immutable and seconds is not None and seconds > MOST_SECONDS:
            yield one.asked.url, f"may be kept for {seconds} s"


@PLACE.add(
    "PC961",
    "data may be kept by browsers",
    severity=Severity.INFO,
    hint="send Cache-Control: public, max-age=3600 with what is written once, or longer",
)
def data_kept(place: Place) -> Iterator[Fault]:
    data = [one.asked for one in place.wholes if one.kind.rule.immutable and one.asked.status == 200]
    for one in [*data, *(ranged.asked for ranged in place.ranges if ranged.asked.status == 206)]:
        told = one.header("cache-control")
        seconds = _seconds(one)
        if seconds == 0:
            yield one.url, f"Cache-Control is {told!r:.60}: it is fetched, or asked for, again each time"
            return
        if not told and not one.header("expires"):
            yield one.url, "Cache-Control is missing: browsers guess"
            return


@PLACE.add(
    "PC962",
    "that something is missing is not remembered",
    severity=Severity.WARNING,
    hint="send long times with data only: what is missing today may be uploaded tomorrow",
)
def missing_not_kept(place: Place) -> Iterator[Fault]:
    for one in place.missing:
        seconds = _seconds(one)
        if one.status in (*MISSING, 403) and seconds is not None and seconds > MOST_SECONDS:
            yield one.url, f"that it is missing may be kept for {seconds} s"
            return
