"""Takes out of labels whatever identifies a person, before anything is stored, logged or echoed.

What is no person stays readable: model names, regions, versions, route templates, names of errors.
"""

from __future__ import annotations

import re
from itertools import pairwise
from urllib.parse import unquote

PERSONAL_KEYS = frozenset(
    {
        "uid", "user", "userid", "useruid", "username", "email", "mail", "useremail", "phone", "phonenumber", "name",
        "firstname", "lastname", "fullname", "displayname", "ip", "ipaddress", "clientip", "remoteip", "remoteaddr",
        "remoteaddress", "xforwardedfor", "session", "sessionid", "cookie", "token", "accesstoken", "idtoken",
        "refreshtoken", "authorization", "auth", "apikey", "password", "secret", "deviceid", "customer", "customerid",
        "account", "accountid", "sub", "memberid", "ownerid", "authorid", "profileid", "surname", "familyname",
        "givenname", "middlename", "maidenname", "nickname", "screenname", "loginname", "loginid", "customername",
        "accountname", "patient", "patientid", "patientname", "employee", "employeeid", "employeename", "person",
        "personid", "clientid", "contactid", "contactname", "studentid", "subscriberid", "address", "street",
        "streetaddress", "dob", "birth", "dateofbirth", "birthdate", "birthday", "mobile", "mobilephone",
        "mobilenumber", "cellphone", "telephone", "tel", "fax", "msisdn", "iban", "accountnumber", "bankaccount",
        "cardnumber", "creditcard", "pan", "cvv", "cvc", "passport", "passportnumber", "nationalid", "taxid",
        "socialsecurity", "socialsecuritynumber", "driverlicense", "drivinglicense", "licenseplate", "imei", "imsi",
        "iccid", "idfa", "gaid", "advertisingid", "fingerprint", "latitude", "longitude", "geolocation", "gps",
        "coordinates",
    }
)  # fmt: skip
_PERSONAL_LAST = frozenset(
    {
        "uid", "email", "mail", "phone", "ip", "token", "password", "secret", "cookie", "username", "ssn", "jwt",
        "surname", "firstname", "lastname", "fullname", "nickname", "address", "dob", "birthdate", "birthday",
        "msisdn", "iban", "passport",
    }
)  # fmt: skip  # `firebase_uid`, `customerEmail`
# A path's segment after one of these names a person, unless it is made of the words below.
_PEOPLE = frozenset(
    {
        "user", "users", "u", "account", "accounts", "customer", "customers", "member", "members", "profile",
        "profiles", "people", "person", "persons", "client", "clients", "patient", "patients", "employee",
        "employees", "student", "students", "subscriber", "subscribers", "guest", "guests", "author", "authors",
        "contact", "contacts", "friend", "friends", "follower", "followers", "username", "usernames",
    }
)  # fmt: skip
_NAMING = frozenset({"name", "email", "username", "handle", "phone", "uid", "id"})  # `/users/by-name/bob`
_NO_PERSON = _PEOPLE | _NAMING | frozenset(
    {
        "me", "self", "current", "all", "new", "list", "search", "find", "lookup", "query", "filter", "count",
        "total", "exists", "check", "validate", "verify", "confirm", "get", "create", "add", "edit", "update",
        "delete", "remove", "save", "import", "export", "bulk", "batch", "sync", "invite", "invites", "invitations",
        "login", "logout", "signin", "signup", "signout", "sign", "in", "up", "out", "log", "register",
        "registration", "activate", "deactivate", "auth", "oauth", "session", "sessions", "token", "tokens",
        "refresh", "password", "passwords", "reset", "forgot", "change", "settings", "preferences", "notifications",
        "security", "billing", "payment", "payments", "orders", "order", "subscriptions", "subscription", "roles",
        "role", "permissions", "groups", "teams", "avatar", "picture", "photo", "image", "info", "details", "summary",
        "stats", "status", "health", "metrics", "dashboard", "home", "overview", "history", "activity", "events",
        "audit", "recent", "active", "inactive", "archived", "deleted", "by", "ids", "of", "and", "or", "service",
        "api", "admin", "static", "assets",
    }
)  # fmt: skip
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # bidi overrides among them
_USERINFO = re.compile(r"(?<=//)[^/\s@]+@")
_EMAIL = re.compile(r"[^\s@/:;,<>\"']+@(?!\^?[\d.]+(?![\w.]))[^\s@/:;,<>\"']+")  # but not react@18.2.0
_IPV4 = re.compile(r"(?<!\d)(?<!\d[.\-])\d{1,3}([.\-_])(?:\d{1,3}\1){2}\d{1,3}(?!\d|[.\-]\d)")  # ip-10-0-0-1 too
_IPV6 = re.compile(
    r"(?<![\w:])(?=[0-9a-fA-F:]*:[0-9a-fA-F:]*:)[0-9a-fA-F:]*[0-9a-fA-F](?:::)?(?![\w:])|(?<![\w:])::1\b"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_JWT = re.compile(r"eyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?")
_KEY = re.compile(
    r"""(?x)
    (?<![A-Za-z0-9])(?:
        (?:sk|pk|rk)[-_](?=[\w\-]*\d)[\w\-]{10,}
        | (?:(?:sk|pk|rk|rzp)_(?:live|test)_|whsec_|sk-(?:ant|proj|svcacct)-)[\w\-]{3,}
        | (?:gh[oprsu]_|github_pat_|glpat-|xox[abeprs]-|xapp-|shp(?:at|ca|pa|ss)_|dop_v1_|ya29\.|AIza)[\w\-.]{4,}
    )
    | \bAKIA[0-9A-Z]{12,}
    | \b(?i:bearer|basic)\s+[\w\-.~+/]{6,}=*
    """
)
_NAMED = re.compile(
    r"(?i)\b((?:user|customer|account|member|session|device)(?:[ _-]?(?:id|name))?|uid|e?mail|login|password|token)"
    r"(?:\s*=\s*[^\s/,;&]+|\s*:\s*(?=[^\s/,;&]*\d)[^\s/,;&]+|[ _#-]+\d+(?![\w-]))"
)  # `user 8341`, `uid=ada`
_LONG = re.compile(r"[A-Za-z0-9_\-+=]{20,}")
_MIXED = re.compile(r"(?<![A-Za-z0-9])(?=[a-zA-Z]*\d)(?:[A-Za-z]+\d+|\d+[A-Za-z]+)+[A-Za-z]*\d*(?![A-Za-z0-9])")
_DIGITS = re.compile(
    r"(?<!\d)\+?\(?\d[\d ()\-_]{5,}\d(?!\d)|\+\d[\d ().\-]{6,}\d|(?<![\d.])\d{3}\.\d{3}\.\d{4}(?![\d.])"
)
_DATE = re.compile(r"(?<!\d)20\d\d([-_]?)[01]\d\1[0-3]\d(?!\d)")
_PROTOCOL = re.compile(r"HTTP/\d(?:\.\d)?")
_VERSION = re.compile(r"v\d{1,3}(?:\.\d{1,3}){0,2}(?:(?:alpha|beta|rc)\d{0,2})?")
_TEMPLATE = re.compile(r":[A-Za-z_].*|\{.*\}|<.*>|\[.*\]|\*+|\$[A-Za-z_]\w*")  # :id {id} <int:id> [id] * $id
_SUBRESOURCE = re.compile(r"([A-Za-z_\-]+)(?:\.(?:json|xml|csv|html?|php|aspx?))?")
_WHOLE_PATH = re.compile(r"(?:[A-Z]+ )?(?:\w+:/)?/")
_NAME_PART = re.compile(r"\d{1,4}|20\d{6}|[A-Za-z]{1,16}\d{0,2}|(?:\d{1,3}[a-z]{1,2}){1,2}")
_SHORT_NAME_PART = re.compile(r"\d{1,2}|20\d{6}|[A-Za-z]{2,16}\d?|\d[a-z]")


def is_personal_key(key: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(key)]
    if not words:
        return False
    endings = ("".join(words[-n:]) for n in (2, 3))  # `billing_first_name`
    return "".join(words) in PERSONAL_KEYS or words[-1] in _PERSONAL_LAST or any(e in PERSONAL_KEYS for e in endings)


def scrub_value(value: str) -> str:
    """The value with every part that may identify a person replaced by a word such as `:id` or `:email`.

    What a terminal or a table would obey (control characters, line ends, bidi overrides) becomes a space.
    """
    for _ in range(3):  # encoded twice is seen too
        if "%" not in value:
            break
        value = unquote(value)
    if _UNPRINTABLE.search(value):
        value = " ".join(_UNPRINTABLE.sub(" ", value).split())
    if "?" in value and "/" in value:
        value = value.partition("?")[0]
    value = _USERINFO.sub("", value)
    value = _JWT.sub(":token", value)
    value = _KEY.sub(":token", value)
    value = _EMAIL.sub(":email", value)
    value = _IPV4.sub(":ip", value)
    value = _IPV6.sub(":ip", value)
    value = _UUID.sub(":id", value)
    value = _NAMED.sub(r"\1 :id", value)
    if "/" in value:
        return value if _PROTOCOL.fullmatch(value) else _path(value)
    value = _LONG.sub(_token, value)
    value = _DIGITS.sub(_number, value)
    return _MIXED.sub(_mixed, value)


def scrub_text(text: str) -> str:
    """What a person wrote, lines and all, without addresses of people and without credentials.

    Ids stay: who looks into a trouble names commits, requests and documents.
    """
    text = "".join(c for c in text if c in "\n\t" or not _UNPRINTABLE.match(c))
    text = _USERINFO.sub("", text)
    text = _JWT.sub(":token", text)
    text = _KEY.sub(":token", text)
    text = _EMAIL.sub(":email", text)
    return _IPV4.sub(":ip", text)


def _path(value: str) -> str:
    """Each segment scrubbed. One that follows `users` and the like is a person, whatever it looks like."""
    is_whole = bool(_WHOLE_PATH.match(value))  # and no path within a sentence
    after_people = False
    done = []
    for segment in re.split(r"(/+)", value):
        words = segment.split()
        if words and segment[0] != "/":
            is_kept = _is_no_person(words[0])
            if after_people and not is_kept and (is_whole or not segment[0].isspace()):
                segment = ":id" if is_whole else ":id" + segment[len(words[0]) :]
            last = words[-1].lower()
            names_one = after_people and is_kept and re.split(r"[_-]", last)[-1] in _NAMING
            after_people = last in _PEOPLE or names_one
        done.append(re.sub(r"[^/\s]+", _path_word, segment))
    return "".join(done)


def _is_no_person(segment: str) -> bool:
    """A part of the API or of a route's template: `me`, `search`, `resetPassword`, `list.json`, `v2`, `{id}`."""
    if _TEMPLATE.fullmatch(segment) or _VERSION.fullmatch(segment) or segment.lower() == "oauth2":
        return True
    found = _SUBRESOURCE.fullmatch(segment)
    return found is not None and all(word.lower() in _NO_PERSON for word in _WORDS.findall(found[1]))


def _path_word(match: re.Match[str]) -> str:
    """`8341`, `a8f3c0`, `ord_19283` are ids; `users`, `v1`, `oauth2`, `us-central1` are names."""
    word = match.group()
    if not any(c.isdigit() for c in word):
        return _LONG.sub(_token, word)
    one_digit = sum(c.isdigit() for c in word) == 1
    if one_digit and len(word) <= 8 and word[-1].isdigit() and word[0].isalpha():
        return word
    if _VERSION.fullmatch(word) or _is_name(word, _SHORT_NAME_PART):
        return word
    return ":id"


def _token(match: re.Match[str]) -> str:
    """A long run without spaces is a token unless it reads as words (`claude-sonnet-4-5-20250929`, `ErrorOfAKind`)."""
    text = match.group()
    return text if _is_name(text, _NAME_PART) or _is_camel_case(text) else ":token"


def _number(match: re.Match[str]) -> str:
    """Seven digits are a phone number or an id, if they are no date."""
    text = match.group()
    return ":id" if sum(c.isdigit() for c in _DATE.sub("", text)) >= 7 else text


def _mixed(match: re.Match[str]) -> str:
    """A run that goes to and fro between letters and digits was not made by a person."""
    text = match.group()
    turns = sum(a.isdigit() != b.isdigit() for a, b in pairwise(text))
    return ":token" if turns >= 4 and len(text) >= 10 else text


def _is_name(text: str, part: re.Pattern[str]) -> bool:
    """Words and small numbers, joined; two words at least if there is any number."""
    parts = re.split(r"[-_]+", text.strip("-_"))
    if not all(part.fullmatch(p) for p in parts):
        return False
    words = sum(p[:2].isalpha() and len(p) > 1 for p in parts)
    return words >= 2 or (words == 1 and not any(c.isdigit() for c in text))


def _is_camel_case(text: str) -> bool:
    words = _WORDS.findall(text)
    return (
        text.isascii()
        and text.isalpha()
        and len(text) >= 4 * len(words)
        and all(2 <= len(word) <= 16 for word in words)
    )
