import ast
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailfw.configuration.keys import POP3
from mailfw.pop3 import grammar, responses
from mailfw.pop3.languages import ENGLISH, GERMAN, KOREAN, LANGUAGES, language_of
from mailfw.pop3.responses import Answer


def texts() -> set[str]:
    """Return all that is said in words, once LANG can have been given."""
    said = {each.text for each in vars(responses).values() if isinstance(each, Answer)}
    tree = ast.parse(Path(grammar.__file__).read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "BadSyntax":
            [argument] = node.args
            assert isinstance(argument, ast.Constant), ast.dump(node)
            said.add(str(argument.value))
    return said - {responses.TOO_MANY_CONNECTIONS.text}


class LanguageTests(SynchronousTestCase):
    def test_everything_is_translated(self) -> None:
        for language in (GERMAN, KOREAN):
            self.assertEqual(set(language.texts), texts(), language.tag)
            for english, translated in language.texts.items():
                self.assertEqual(translated.count("{}"), english.count("{}"), translated)
                self.assertNotEqual(translated, english)

    def test_no_line_is_too_long(self) -> None:
        """RFC 2449 section 4: 512 octets with the CRLF."""
        for language in LANGUAGES:
            for text in texts():
                line = Answer(False, text, "LOGIN-DELAY").octets(language, *[2**63] * text.count("{}"))
                self.assertLessEqual(len(line), 512)
                self.assertEqual(line.count(b"\n"), 1)

    def test_no_text_begins_like_a_code(self) -> None:
        """RFC 2449 section 8: a text that begins with a bracket would be one."""
        for language in LANGUAGES:
            for text in texts():
                self.assertNotEqual(language.translate(text)[0], "[")

    def test_lookup(self) -> None:
        for wanted, found in [
            ("en", ENGLISH),
            ("EN-us", ENGLISH),
            ("i-default", ENGLISH),
            ("de-CH-1996", GERMAN),
            ("de-x-mail", GERMAN),
            ("ko-Kore-KR", KOREAN),
            ("d", None),
            ("dex", None),
            ("i", None),
            ("*", None),
        ]:
            self.assertIs(language_of(wanted), found, wanted)

    def test_a_site_can_prefer_each(self) -> None:
        for language in LANGUAGES:
            self.assertIn(f"'{language.tag}'", POP3.__annotations__["language"].replace('"', "'"))
