"""Replaces personal data in texts: e-mail addresses, public IP addresses, telephone numbers.

FineWeb (Penedo et al. 2024) replaces e-mail addresses, by `email@example.com` as here, and public IP addresses; Dolma
(Soldaini et al. 2024) telephone numbers too. The replacements here are set aside for examples: example.com (RFC 2606),
192.0.2.1 (RFC 5737), 2001:db8::1 (RFC 3849), 555-0100 (North American numbering plan). They are not replaced again, so
that a second run changes nothing.

What is found has the form of an address; a version number of four parts is taken for one too.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter

from data_prep.configfile import Settings
from data_prep.documents import Document
from data_prep.drop import Change

EMAIL, IPV4, IPV6, PHONE = "email@example.com", "192.0.2.1", "2001:db8::1", "555-0100"

# Each expression begins where a run of its characters begins, so that the time is linear in the text.
_EMAIL = re.compile(
    r"(?<![\w.+%'-])[a-zA-Z0-9_+%'-][\w.+%'-]{0,63}@"
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.){1,8}[a-zA-Z][a-zA-Z0-9-]{0,22}[a-zA-Z](?![\w@-])"
)
_IPV4 = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w]|\.[0-9])")
# Only 2000::/3, the addresses that are given out (RFC 4291 2.4): `dead::beef` is a word of programmers.
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9a-fA-F]{3}:[0-9a-fA-F:]{2,34}(?![\w:.]*[\w:])")
_PHONE = re.compile(
    r"(?<![\w+.()-])(?:"
    r"\+[1-9][0-9]{0,2}(?:[ .-]?\(?[0-9]{1,4}\)?){2,6}"  # international (ITU-T E.164)
    r"|(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[-.])[2-9][0-9]{2}[-.][0-9]{4}"  # North America
    r"|0[0-9]{1,3}[- ][0-9]{3,4}[- ][0-9]{4}"  # national form with a leading zero (Korea, Japan, Germany, ...)
    r")(?![\w-]|\.[0-9])"
)
_DIGITS = (8, 15)  # of an international number; E.164 allows 15 at most


class PiiSettings(Settings):
    """Attributes:
    email: whether e-mail addresses are replaced.
    ip: whether public IPv4 and IPv6 addresses are.
    phone: whether telephone numbers are; their forms are many, so that some are missed and some numbers mistaken.
    """

    email: bool = True
    ip: bool = True
    phone: bool = False


def scrub(text: str, settings: PiiSettings) -> tuple[str, dict[str, int]]:
    """The text with replacements, and how many of each kind there were (kinds without any are left out)."""
    counts: Counter[str] = Counter()

    def email(match: re.Match[str]) -> str:
        if match[0] == EMAIL:
            return EMAIL
        counts["email"] += 1
        return EMAIL

    def ip(match: re.Match[str]) -> str:
        found = match[0].rstrip(":") if match[0].endswith(":") and not match[0].endswith("::") else match[0]
        try:
            address = ipaddress.ip_address(found)
        except ValueError:
            return match[0]
        if not address.is_global:
            return match[0]
        counts["ip"] += 1
        return (IPV4 if address.version == 4 else IPV6) + match[0][len(found) :]

    def phone(match: re.Match[str]) -> str:
        digits = sum(map(str.isdigit, match[0]))
        if match[0].startswith("+") and not _DIGITS[0] <= digits <= _DIGITS[1]:
            return match[0]
        counts["phone"] += 1
        return PHONE

    rows = text.split("\n")  # none of the forms spans lines, and most lines cannot hold any
    for number, row in enumerate(rows):
        if settings.email and "@" in row:
            row = _EMAIL.sub(email, row)
        if settings.ip and row.count(".") >= 3:
            row = _IPV4.sub(ip, row)
        if settings.ip and row.count(":") >= 2:
            row = _IPV6.sub(ip, row)
        if settings.phone:
            row = _PHONE.sub(phone, row)
        rows[number] = row
    if counts:
        text = "\n".join(rows)
    return text, dict(counts)


def pii(document: Document, settings: PiiSettings) -> Change | None:
    """Replace what is found in the text; the numbers go into the counts and the document's metadata."""
    text, counts = scrub(document["text"], settings)
    return Change(text, {f"pii-{kind}": n for kind, n in counts.items()}, {"pii": counts}) if counts else None
