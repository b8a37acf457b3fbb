"""`fanfold login`, `logout`, `token`: which server, and who one is."""

from __future__ import annotations

import sys
import time
from urllib.parse import urlsplit

import click

from fanfold.cli.talking import say, with_client, with_json, write_json
from fanfold.client import Client
from fanfold.faults import NotLoggedIn
from fanfold.profile import Profile, chosen_profile, profile_file, read_profile, write_profile

_LIFETIME_S = 3600


@click.command()
@click.argument("url")
@click.option("--username", help="[default: asked for]")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--profile", help="Keep the login under this name.  [FANFOLD_PROFILE, else default]")
@with_json
def login(
    url: str, *, username: str | None, password_stdin: bool, profile: str | None, as_json: bool
) -> None:
    """Log in to the server at URL, and keep the token for the other commands.

    The token is refreshed by itself, for eight hours; then log in again. The password is not kept.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        url = f"http://{url}"
    username = username or click.prompt("User name", err=True)
    if password_stdin:
        password = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    else:
        password = click.prompt("Password", hide_input=True, err=True)
    with Client(url, username=username, password=password, progress=False) as client:
        token = client.log_in()
    name = profile or chosen_profile()
    kept = Profile(url.rstrip("/"), str(username), token, time.time() + _LIFETIME_S)
    write_profile(name, kept, profile_file())
    say(
        f"logged in to {kept.url} as {str(username).upper()}",
        {"url": kept.url, "username": str(username).upper(), "profile": name},
        as_json=as_json,
    )


@click.command()
@click.option("--profile", help="[FANFOLD_PROFILE, else default]")
@with_json
def logout(profile: str | None, *, as_json: bool) -> None:
    """End the login and forget its token."""
    name = profile or chosen_profile()
    kept = read_profile(name, profile_file())
    if kept is None:
        raise NotLoggedIn(f'There is no login "{name}".')
    write_profile(name, None, profile_file())
    with Client(kept.url, token=kept.token, progress=False) as client:
        client.log_out()
    say(f"logged out of {kept.url}", {"url": kept.url, "profile": name}, as_json=as_json)


@click.command("token")
@with_json
@with_client
def token_(client: Client, *, as_json: bool) -> None:
    """Write a token that is good for some time, for curl and the like."""
    found = client.token()
    if as_json:
        write_json({"token": found})
    else:
        click.echo(found)
