"""The stand-in's answers about accounts: session, login by QR code, renewal of cookies."""

from __future__ import annotations

import secrets
from typing import Any, Final
from urllib.parse import quote, unquote

from musicq_async.testing.bilibili_catalogue import Person
from musicq_async.testing.bilibili_http import Reply, Request
from musicq_async.testing.bilibili_site import QrCode, Refusal, Site, envelope, refused

_COOKIE: Final = "; Path=/; Domain=bilibili.com; Expires=Wed, 01 Jan 2031 00:00:00 GMT"


def nav(site: Site, request: Request) -> Reply:
    """Answer with whose session it is; the keys are in a guest's answer too."""
    person = site.person(request)
    img, sub = site.wbi
    data: dict[str, Any] = {
        "isLogin": person.level != "guest",
        "wbi_img": {
            "img_url": f"https://i0.hdslb.com/bfs/wbi/{img}.png",
            "sub_url": f"https://i0.hdslb.com/bfs/wbi/{sub}.png",
        },
    }
    if person.level == "guest":
        return refused(Refusal(-101, data=data))
    vip = int(person.level == "member")
    return envelope(data | {"mid": person.mid, "uname": person.name, "vipStatus": vip, "vipType": 2 * vip})


def device(_site: Site, _request: Request) -> Reply:
    """Answer with new device ids."""
    return envelope({"b_3": f"{secrets.token_hex(16).upper()}infoc", "b_4": f"{secrets.token_hex(16).upper()}-0001"})


def qr_generate(site: Site, _request: Request) -> Reply:
    """Begin a login."""
    code = QrCode(key=secrets.token_hex(16))
    site.qr_codes[code.key] = code
    url = f"https://account.bilibili.com/h5/account-h5/auth/scan-web?qrcode_key={code.key}"
    return envelope({"url": url, "qrcode_key": code.key})


def qr_poll(site: Site, request: Request) -> Reply:
    """Answer how far a login is; the session comes as cookies."""
    code = site.qr_codes.get(request.params.get("qrcode_key", ""))
    state = code.state if code else 86038
    if code is None or state:
        return envelope({"url": "", "refresh_token": "", "timestamp": 0, "code": state, "message": ""})
    del site.qr_codes[code.key]
    session, token, cookies = _new_session(site, code.person)
    url = f"https://passport.biligame.com/crossDomain?DedeUserID={code.person.mid}&SESSDATA={quote(session, safe='')}"
    data = {"url": url, "refresh_token": token, "timestamp": int(site.now() * 1000), "code": 0, "message": ""}
    return _with_cookies(envelope(data), cookies)


def cookie_info(site: Site, request: Request) -> Reply:
    """Answer whether the cookies should be renewed."""
    if _session(site, request) in site.expired:
        raise Refusal(-101)
    return envelope({"refresh": site.refresh_due, "timestamp": int(site.now() * 1000)})


def correspond(site: Site, request: Request) -> Reply:
    """Answer with the page that holds the renewal's token. The path is as long as the key's ciphertext in hex."""
    path = request.path.rpartition("/")[2]
    if len(path) != 256 or set(path) - set("0123456789abcdef"):
        return Reply(status=404, body=b"404")
    token = f"refresh-{_session(site, request)}"
    return Reply(body=f'<html><div id="1-name">{token}</div></html>'.encode(), headers=(("Content-Type", "text/html"),))


def cookie_refresh(site: Site, request: Request) -> Reply:
    """Renew the cookies; the old ones live until the renewal is confirmed."""
    session = _session(site, request)
    form = request.form
    if form.get("csrf") != site.csrf[session]:
        raise Refusal(-111)
    if form.get("refresh_csrf") != f"refresh-{session}" or site.refresh_tokens.get(form["refresh_token"]) != session:
        raise Refusal(86095)
    _, token, cookies = _new_session(site, site.sessions[session])
    site.refresh_due = False
    return _with_cookies(envelope({"status": 0, "message": "", "refresh_token": token}), cookies)


def confirm_refresh(site: Site, request: Request) -> Reply:
    """End the old session."""
    session = _session(site, request)
    if request.form.get("csrf") != site.csrf[session]:
        raise Refusal(-111)
    old = site.refresh_tokens.pop(request.form.get("refresh_token", ""), None)
    if old is None or old == session:
        raise Refusal(86095)
    site.sessions.pop(old, None)
    return envelope(None)


def _session(site: Site, request: Request) -> str:
    session = unquote(request.cookies.get("SESSDATA", ""))
    if session not in site.sessions:
        raise Refusal(-101)
    return session


def _new_session(site: Site, person: Person) -> tuple[str, str, dict[str, str]]:
    session = site.open_session(person)
    token = secrets.token_hex(16)
    site.refresh_tokens[token] = session
    cookies = {
        "SESSDATA": quote(session, safe=""),
        "bili_jct": site.csrf[session],
        "DedeUserID": str(person.mid),
        "DedeUserID__ckMd5": secrets.token_hex(8),
        "sid": secrets.token_hex(4),
    }
    return session, token, cookies


def _with_cookies(reply: Reply, cookies: dict[str, str]) -> Reply:
    lines = tuple(("Set-Cookie", f"{name}={value}{_COOKIE}") for name, value in cookies.items())
    return Reply(body=reply.body, headers=reply.headers + lines)
