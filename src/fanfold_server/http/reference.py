"""The reference at `/docs`: the OpenAPI document as one page of HTML.

Written on the server, without scripts and without anything from another host, so that it works
offline and under the strictest content security policy.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator
from html import escape
from typing import Any, Final

import orjson

from fanfold_server.http.openapi import by_tag

_STYLE: Final = """\
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--accent:#0a6}
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1,h2{line-height:1.2}h2{margin-top:3rem;border-bottom:1px solid var(--line)}
nav li{list-style:none;margin:.1rem 0;padding-left:4.8em;text-indent:-4.8em}nav ul{padding:0}
nav li *{text-indent:0}nav a{text-decoration:none;overflow-wrap:anywhere}nav a:hover code,
nav a:focus code{text-decoration:underline}
code,pre{font:14px/1.45 ui-monospace,monospace}
pre{background:var(--soft);padding:.7rem 1rem;overflow:auto;border-radius:6px}
article{margin:1.6rem 0;padding:1rem 1.2rem;border:1px solid var(--line);border-radius:8px}
article h3{margin:0 0 .4rem;font-size:1rem;overflow-wrap:anywhere}
.method{display:inline-block;min-width:4.8em;font-weight:700;color:var(--accent)}
.old{opacity:.7;font-weight:400}
table{border-collapse:collapse;width:100%;margin:.6rem 0}
th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;
border-bottom:1px solid var(--line)}
"""
_STYLE_HASH: Final = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def write_reference(document: dict[str, Any]) -> str:
    """Write the page for an OpenAPI document."""
    return "".join(_Page(document).parts())


class _Page:
    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def parts(self) -> Iterator[str]:
        """Give the page piece by piece."""
        title = f"{self._document['info']['title']} {self._document['info']['version']}"
        yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        yield '</title><meta name="viewport" content="width=device-width">'
        yield f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        yield _prose(self._document["info"].get("description", ""))
        yield '<p>The same as a document for machines: <a href="/openapi.json">OpenAPI 3.1</a>.</p>'
        groups = by_tag(self._document)
        about = {tag["name"]: tag["description"] for tag in self._document["tags"]}
        yield "<nav>"
        for tag, operations in groups.items():
            yield f"<h4>{escape(tag.capitalize())}</h4><ul>"
            for method, path, operation in operations:
                yield f'<li><a href="#{_anchor(method, path)}">{_line(method, path, operation)}'
                yield "</a></li>"
            yield "</ul>"
        yield "</nav>"
        for tag, operations in groups.items():
            yield f"<h2>{escape(tag.capitalize())}</h2>{_prose(about[tag])}"
            for method, path, operation in operations:
                yield from self._operation(method, path, operation)
        yield "</body></html>"

    def _operation(self, method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
        yield f'<article id="{_anchor(method, path)}"><h3>{_line(method, path, operation)}</h3>'
        yield _prose(operation.get("description") or operation.get("summary", ""))
        if operation.get("security", True):
            yield "<p>Needs a token.</p>"
        if parameters := operation.get("parameters"):
            yield _table(
                (
                    f"{given['name']} ({given['in']})",
                    self._type(given.get("schema", {})),
                    given.get("description", ""),
                )
                for given in parameters
            )
        if body := operation.get("requestBody"):
            yield "<p><strong>Request body</strong></p>"
            yield from self._content(body.get("content", {}))
        for status, response in operation.get("responses", {}).items():
            yield f"<p><strong>{escape(str(status))}</strong> "
            yield f"{_inline(response.get('description', ''))}</p>"
            if status != "default":
                yield from self._content(response.get("content", {}))
        yield "</article>"

    def _content(self, content: dict[str, Any]) -> Iterator[str]:
        """Show the first media type: its members, and an example where there is one."""
        for media_type, media in content.items():
            schema = self._resolved(media.get("schema", {}))
            properties = schema.get("properties", {})
            if properties:
                required = schema.get("required", ())
                yield _table(
                    (
                        f"{name}{' (required)' if name in required else ''}",
                        self._type(member),
                        member.get("description", ""),
                    )
                    for name, member in properties.items()
                )
            elif media_type != "application/json":
                yield f"<p><code>{escape(media_type)}</code></p>"
            for example in _examples(media, schema):
                shown = orjson.dumps(example, option=orjson.OPT_INDENT_2).decode()
                yield f"<pre>{escape(shown)}</pre>"
            return

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Follow a reference into the document."""
        reference = schema.get("$ref")
        if reference is None:
            return schema
        found: Any = self._document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        return dict(found)

    def _type(self, schema: dict[str, Any]) -> str:
        """Say in a few words what a value is."""
        if "$ref" in schema:
            return self._type({**self._resolved(schema), "title": ""})
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return " or ".join(self._type(choice) for choice in schema[several])
        if "enum" in schema:
            return " | ".join(orjson.dumps(value).decode() for value in schema["enum"])
        kind = schema.get("type", "any")
        text = " or ".join(kind) if isinstance(kind, list) else str(kind)
        if kind == "array":
            text = f"array of {self._type(schema.get('items', {}))}"
        if "default" in schema:
            text += f" = {orjson.dumps(schema['default']).decode()}"
        return text


def _examples(media: dict[str, Any], schema: dict[str, Any]) -> Iterator[object]:
    if "example" in media:
        yield media["example"]
    for named in media.get("examples", {}).values():
        yield named.get("value")
    if "example" in schema:
        yield schema["example"]
    yield from schema.get("examples", ())


def _anchor(method: str, path: str) -> str:
    return method + re.sub(r"[^A-Za-z0-9]+", "-", path)


def _line(method: str, path: str, operation: dict[str, Any]) -> str:
    old = ' <span class="old">deprecated</span>' if operation.get("deprecated") else ""
    return f'<span class="method">{method.upper()}</span><code>{escape(path)}</code>{old}'


def _table(rows: Iterator[tuple[str, str, str]]) -> str:
    body = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(kind)}</td><td>{_inline(text)}</td></tr>"
        for name, kind, text in rows
    )
    return f"<table><tr><th>name</th><th>type</th><th>meaning</th></tr>{body}</table>"


def _prose(text: str) -> str:
    """Write paragraphs, split at blank lines."""
    return "".join(f"<p>{_inline(part)}</p>" for part in text.split("\n\n") if part.strip())


def _inline(text: str) -> str:
    """Escape a text, and set what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
