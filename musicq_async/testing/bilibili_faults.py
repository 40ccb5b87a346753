"""Every way in which the site refuses, by name: ``site.fail("/x/player/*", with_=REFUSALS["banned"])``."""

from __future__ import annotations

from typing import Final

from musicq_async.testing.bilibili_http import Fault

REFUSALS: Final[dict[str, Fault]] = {
    # The risk control: everything of the account pauses.
    "banned": Fault(status=412, body=b'{"code":-412,"message":"request was banned","ttl":1,"data":null}'),
    "banned page": Fault(status=412, body=b"<html><script>challenge()</script></html>"),
    "banned by code": Fault(code=-412),
    "risk check": Fault(code=-352, voucher=True),
    "silent risk check": Fault(voucher=True),
    "risk check by header": Fault(
        body=b'{"code":0,"data":{}}', headers=(("X-Bili-Gaia-Vvoucher", "voucher_stand_in"),)
    ),
    "taken for a crawler": Fault(code=-401),
    # Too often: wait, then go on.
    "too often": Fault(code=-799),
    "over the limit": Fault(code=-509),
    "too many requests": Fault(status=429, headers=(("Retry-After", "40"),)),
    # The site is ill: ask again.
    "server error": Fault(code=-500),
    "overloaded": Fault(code=-503),
    "server timeout": Fault(code=-504),
    "server busy": Fault(code=-8888),
    "bad gateway": Fault(status=502, body=b"<html>502</html>"),
    "unavailable": Fault(status=503),
    "no answer": Fault(status=200, body=b"", reset=True, length_delta=10),
    # This work is not to be had.
    "gone": Fault(code=-404),
    "hidden": Fault(code=62002),
    "in review": Fault(code=62004),
    "private": Fault(code=62012),
    "list gone": Fault(code=11010),
    "song removed": Fault(code=7201006),
    # Not by this account.
    "not logged in": Fault(code=-101),
    "forged": Fault(code=-111),
    "no right": Fault(code=-403),
    "account banned": Fault(code=-102),
    "region or membership": Fault(code=-10403),
    "paying fans": Fault(code=87007),
    "paying fans only": Fault(code=87008),
    "song moved": Fault(code=72010027),
    "song cannot be played": Fault(code=4511006),
    # Our own mistake.
    "bad request": Fault(code=-400),
    "bad song request": Fault(code=72000000),
    # Nothing that this version knows.
    "unknown code": Fault(code=987654),
    "no envelope": Fault(body=b"<html>hello</html>"),
}
"""For the API; what the media hosts do wrong is said with `Fault` itself."""
