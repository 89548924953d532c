"""What is said to people, in the languages that LANG chooses from (RFC 6856 section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """A language by its tag and what its speakers call it; `texts` has what each English text is in it."""

    tag: str
    name: str
    changed: str
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)

    def translate(self, text: str) -> str:
        """Return an English text in this language; what it has no words for stays English."""
        return self.texts.get(text, text)


ENGLISH = Language("en", "English", "Language changed")

GERMAN = Language(
    "de",
    "Deutsch",
    "Sprache gewechselt",
    {
        "Command not known here": "Dieser Befehl ist hier unbekannt",
        "Line too long": "Die Zeile ist zu lang",
        "Too many errors": "Zu viele Fehler",
        "Log in first": "Erst anmelden",
        "You have logged in already": "Sie sind schon angemeldet",
        "Now the password": "Jetzt das Passwort",
        "USER first": "Erst USER",
        "Name or password is wrong": "Name oder Passwort ist falsch",
        "Name or password is wrong; too many attempts": "Name oder Passwort ist falsch; zu viele Versuche",
        "Passwords are taken under TLS only": "Passwörter werden nur unter TLS angenommen",
        "No passwords are taken here": "Hier werden keine Passwörter angenommen",
        "This mechanism is not known here": "Dieses Verfahren ist hier unbekannt",
        "Cancelled": "Abgebrochen",
        "This does not follow the mechanism": "Das entspricht nicht dem Verfahren",
        "Too many failed logins; try again later": "Zu viele missglückte Anmeldungen; später noch einmal versuchen",
        "This is not base64": "Das ist kein Base64",
        "Logins cannot be checked at the moment": "Anmeldungen lassen sich gerade nicht prüfen",
        "Another session has this maildrop": "Eine andere Sitzung hat dieses Postfach",
        "Too soon after the last login; wait {} seconds": "Zu früh nach der letzten Anmeldung; noch {} Sekunden warten",
        "This maildrop cannot be opened; tell the postmaster": (
            "Dieses Postfach lässt sich nicht öffnen; bitte dem Postmaster melden"
        ),
        "Begin TLS": "TLS beginnen",
        "This is under TLS already": "Das läuft schon unter TLS",
        "TLS is not offered here": "TLS gibt es hier nicht",
        "STLS comes before UTF8": "STLS kommt vor UTF8",
        "UTF-8 from now on": "Ab jetzt UTF-8",
        "No such message": "Diese Nachricht gibt es nicht",
        "This message is no longer there": "Diese Nachricht ist nicht mehr da",
        "Done": "Erledigt",
        "Something is wrong here; try again later": "Hier stimmt etwas nicht; später noch einmal versuchen",
        "{} messages ({} octets)": "{} Nachrichten ({} Oktette)",
        "{} octets": "{} Oktette",
        "Top of message": "Anfang der Nachricht",
        "What there is": "Was es gibt",
        "Languages": "Sprachen",
        "This language is not spoken here": "Diese Sprache wird hier nicht gesprochen",
        "Goodbye": "Auf Wiedersehen",
        "Some messages were not removed": "Manche Nachrichten wurden nicht entfernt",
        "The server stops; try again later": "Der Server hält an; später noch einmal versuchen",
        "This is neither ASCII nor UTF-8": "Das ist weder ASCII noch UTF-8",
        "This is no command": "Das ist kein Befehl",
        "Only ASCII may be in this command": "In diesem Befehl darf nur ASCII stehen",
        "No argument is allowed": "Hier darf nichts weiter stehen",
        "An argument is needed": "Hier fehlt eine Angabe",
        "A character is not allowed here": "Ein Zeichen ist hier nicht erlaubt",
        "A message number is needed": "Hier fehlt die Nummer einer Nachricht",
        "A message number and a number of lines are needed": (
            "Hier fehlen die Nummer einer Nachricht und eine Anzahl von Zeilen"
        ),
        "The name of a mechanism is needed, and an initial response is in base64": (
            "Hier fehlt der Name eines Verfahrens; eine erste Antwort ist in Base64"
        ),
    },
)

KOREAN = Language(
    "ko",
    "한국어",
    "언어를 바꾸었습니다",
    {
        "Command not known here": "알 수 없는 명령입니다",
        "Line too long": "줄이 너무 깁니다",
        "Too many errors": "오류가 너무 많습니다",
        "Log in first": "먼저 로그인하십시오",
        "You have logged in already": "이미 로그인했습니다",
        "Now the password": "이제 비밀번호를 보내십시오",
        "USER first": "USER가 먼저입니다",
        "Name or password is wrong": "이름이나 비밀번호가 틀렸습니다",
        "Name or password is wrong; too many attempts": "이름이나 비밀번호가 틀렸습니다. 너무 여러 번 시도했습니다",
        "Passwords are taken under TLS only": "비밀번호는 TLS에서만 받습니다",
        "No passwords are taken here": "여기서는 비밀번호를 받지 않습니다",
        "This mechanism is not known here": "알 수 없는 인증 방식입니다",
        "Cancelled": "취소했습니다",
        "This does not follow the mechanism": "인증 방식에 맞지 않습니다",
        "Too many failed logins; try again later": "로그인에 너무 여러 번 실패했습니다. 나중에 다시 하십시오",
        "This is not base64": "base64가 아닙니다",
        "Logins cannot be checked at the moment": "지금은 로그인을 확인할 수 없습니다",
        "Another session has this maildrop": "다른 세션이 이 편지함을 쓰고 있습니다",
        "Too soon after the last login; wait {} seconds": "다시 로그인하기에 너무 이릅니다. {}초 기다리십시오",
        "This maildrop cannot be opened; tell the postmaster": "편지함을 열 수 없습니다. 관리자에게 알리십시오",
        "Begin TLS": "TLS를 시작하십시오",
        "This is under TLS already": "이미 TLS입니다",
        "TLS is not offered here": "여기서는 TLS를 쓸 수 없습니다",
        "STLS comes before UTF8": "STLS는 UTF8보다 먼저입니다",
        "UTF-8 from now on": "이제부터 UTF-8입니다",
        "No such message": "그런 편지가 없습니다",
        "This message is no longer there": "이 편지는 이제 없습니다",
        "Done": "되었습니다",
        "Something is wrong here; try again later": "문제가 생겼습니다. 나중에 다시 하십시오",
        "{} messages ({} octets)": "편지 {}통 ({} 옥텟)",
        "{} octets": "{} 옥텟",
        "Top of message": "편지의 앞부분",
        "What there is": "쓸 수 있는 것",
        "Languages": "언어",
        "This language is not spoken here": "이 언어는 쓸 수 없습니다",
        "Goodbye": "안녕히 가십시오",
        "Some messages were not removed": "지우지 못한 편지가 있습니다",
        "The server stops; try again later": "서버를 멈춥니다. 나중에 다시 하십시오",
        "This is neither ASCII nor UTF-8": "ASCII도 UTF-8도 아닙니다",
        "This is no command": "명령이 아닙니다",
        "Only ASCII may be in this command": "이 명령에는 ASCII만 쓸 수 있습니다",
        "No argument is allowed": "인수를 쓸 수 없습니다",
        "An argument is needed": "인수가 필요합니다",
        "A character is not allowed here": "쓸 수 없는 문자가 있습니다",
        "A message number is needed": "편지 번호가 필요합니다",
        "A message number and a number of lines are needed": "편지 번호와 줄 수가 필요합니다",
        "The name of a mechanism is needed, and an initial response is in base64": (
            "인증 방식의 이름이 필요하고, 첫 응답은 base64입니다"
        ),
    },
)

#: In the order in which LANG lists them.
LANGUAGES = (ENGLISH, GERMAN, KOREAN)
_BY_TAG = {language.tag: language for language in LANGUAGES} | {"i-default": ENGLISH}  # RFC 2277 section 4.5


def language_of(wanted: str) -> Language | None:
    """Return the language that a basic language range finds by lookup (RFC 4647 section 3.4), None if there is none."""
    subtags = wanted.lower().split("-")
    while subtags:
        if (found := _BY_TAG.get("-".join(subtags))) is not None:
            return found
        subtags.pop()
        if subtags and len(subtags[-1]) == 1:
            subtags.pop()
    return None
