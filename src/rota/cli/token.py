"""Access on the command line: the owner's token, tokens for others, and the table of who may do what."""

from typing import Annotated

import typer

from rota.addresses import is_published, published
from rota.cli import show
from rota.cli.home import settings_of
from rota.cli.opening import opened
from rota.manage.access import sessions, tokens
from rota.records.access import ROLES, AccessToken, Role
from rota.supervisor import control_plane

commands = typer.Typer()
token = typer.Typer(help="Who may do what: the owner's token, create, list, revoke, renew, roles, routes.")
commands.add_typer(token, name="token")
browsers = typer.Typer(help="Sessions of browsers that entered with a token: list, end.\n\nExample: rota token sessions list", no_args_is_help=True)
token.add_typer(browsers, name="sessions")


@token.callback(invoke_without_command=True)
def own(
    ctx: typer.Context,
    secret: Annotated[bool, typer.Option("--show", help="Print the secret itself and nothing else.")] = False,
) -> None:
    """Who may do what: the owner's token, create, list, revoke, renew, roles, routes.

    Without a further word: where the owner's token is and how it is used. It is made at the first start.

    Example: rota token --show
    """
    if ctx.invoked_subcommand is not None:
        return
    settings = settings_of(ctx)
    with opened(ctx, "token.manage") as platform:
        path, found = platform.access.owner_token.path, platform.access.owner_token.make()
    if secret:
        print(found)
        return
    running = is_published(settings.home)
    port = published(settings.home)["control"] if running else settings.control_port
    address = f"http://{settings.host}:{port}"
    print(f"the owner's token is in {path}; `rota token --show` prints it")
    print(f"  programs         Authorization: Bearer TOKEN         for example {address}/v1/whoami")
    print(f"  browsers         {address}/enter?token=TOKEN")
    print(f"  MLflow clients   MLFLOW_TRACKING_URI={address} MLFLOW_TRACKING_TOKEN=TOKEN")
    if not running:
        print(f"  nothing runs on {settings.home} now; `rota up` starts it")
    print("  this program     ROTA_TOKEN=TOKEN, or ROTA_TOKEN_FILE; without them it acts for whoever can read the home")
    print("  for others       rota token create --role reviewer --holder ana --expires 90d")


@token.command()
def create(
    ctx: typer.Context,
    role: Annotated[str, typer.Option(help="What it may do; `rota token roles` prints the table.")],
    holder: Annotated[str, typer.Option(help="The person or program that will use it; its name in the audit log.")],
    expires: Annotated[str, typer.Option(help="How long it lasts, for example 90d or 12h, or never.")],
    project: Annotated[str, typer.Option(help="Limit it to what belongs to this project; such a token works over HTTP only.")] = "",
    environment: Annotated[str, typer.Option(help="Limit it to platforms of this environment.")] = "",
    endpoint: Annotated[str, typer.Option(help="Limit it to predictions, labels and outcomes of this endpoint; over HTTP only.")] = "",
    json: show.Json = False,
) -> None:
    """Make a token; its secret is printed now and never again.

    Example: rota token create --role reviewer --holder ana --expires 90d
    """
    with opened(ctx, "token.manage") as platform:
        now_us = platform.access.wall.now_us()
        made, secret = tokens.create(
            platform.repositories.metadata,
            holder,
            _role(role),
            actor=platform.identity.name,
            now_us=now_us,
            expires_us=tokens.expiry(expires, now_us),
            project=project,
            environment=environment,
            endpoint=endpoint,
        )
    if json:
        show.write_json({**tokens.described(made, now_us), "secret": secret})
        return
    print(secret)
    ends = f"until {show.when(made.expires_us)}" if made.expires_us else "until it is revoked"
    print(f"token {made.id} of {holder}, {role}, {ends}; the secret above is not shown again")


@token.command("list")
def list_(
    ctx: typer.Context,
    holder: Annotated[str, typer.Option(help="Only tokens of this holder.")] = "",
    limit: show.Limit = 100,
    json: show.Json = False,
) -> None:
    """List the tokens that were made, newest first, also those that open nothing any more.

    Example: rota token list --holder ana
    """
    with opened(ctx, "token.manage") as platform:
        now_us = platform.access.wall.now_us()
        found = tokens.tokens(platform.repositories.metadata, holder=holder, limit=limit)
    if json:
        show.write_json([tokens.described(each, now_us) for each in found])
        return
    columns = {
        "token": lambda t: t.id,
        "holder": lambda t: t.holder,
        "role": lambda t: t.role,
        "state": lambda t: tokens.state(t, now_us),
        "expires": lambda t: show.when(t.expires_us) if t.expires_us else "never",
        "limits": _limits,
        "made by": lambda t: t.created_by,
    }
    show.listing(found, columns, as_json=False, empty="no token was made yet; `rota token create` makes one beside the owner's")


@token.command()
def revoke(
    ctx: typer.Context, id: Annotated[str, typer.Argument(help="Id of the token, as `rota token list` shows it.")], json: show.Json = False
) -> None:
    """Revoke a token: from the next request on it opens nothing.

    Example: rota token revoke 3f9c2a17b0de
    """
    with opened(ctx, "token.manage") as platform:
        now_us = platform.access.wall.now_us()
        found = tokens.revoke(platform.repositories.metadata, id, actor=platform.identity.name, now_us=now_us)
    if json:
        show.write_json(tokens.described(found, now_us))
    else:
        print(f"token {found.id} of {found.holder} opens nothing any more")


@token.command()
def renew(ctx: typer.Context, json: show.Json = False) -> None:
    """Put another owner's token in place of the present one, which opens nothing from the next request on.

    Example: rota token renew
    """
    with opened(ctx, "token.manage") as platform:
        platform.access.owner_token.renew()
        tokens.record_renewal(platform.repositories.metadata, actor=platform.identity.name, now_us=platform.access.wall.now_us())
        path = platform.access.owner_token.path
    if json:
        show.write_json({"path": str(path)})
    else:
        print(f"{path} holds another token now; the old one opens nothing any more")


@browsers.command("list")
def list_sessions(
    ctx: typer.Context,
    holder: Annotated[str, typer.Option(help="Only sessions of this holder.")] = "",
    limit: show.Limit = 100,
    json: show.Json = False,
) -> None:
    """List the sessions of browsers, newest first, also those that are over and not removed yet.

    Example: rota token sessions list --holder ana
    """
    with opened(ctx, "token.manage") as platform:
        found = sessions.sessions(platform.repositories.metadata, holder=holder, limit=limit)
        described = [platform.access.described_session(each) for each in found]
    if json:
        show.write_json(described)
        return
    columns = {
        "session": lambda s: s["id"],
        "holder": lambda s: s["holder"],
        "token": lambda s: s["token"] or "the owner's",
        "state": lambda s: s["state"],
        "begun": lambda s: show.when(s["created_us"]),
        "last used": lambda s: show.when(s["used_us"]),
    }
    show.listing(described, columns, as_json=False, empty="no browser has entered; `rota token` prints the address at which one does")


@browsers.command("end")
def end_session(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(help="Id of the session, as `rota token sessions list` shows it.")],
    json: show.Json = False,
) -> None:
    """End the session of a browser: from the next request on it opens nothing.

    Example: rota token sessions end 3f9c2a17b0de
    """
    with opened(ctx, "token.manage") as platform:
        now_us = platform.access.wall.now_us()
        ended = sessions.end(platform.repositories.metadata, id, actor=platform.identity.name, now_us=now_us)
        described = platform.access.described_session(ended)
    if json:
        show.write_json(described)
    else:
        print(f"session {ended.id} of {ended.holder} opens nothing any more")


@token.command()
def roles(json: show.Json = False) -> None:
    """Print the table of permissions and the roles that hold them; what is not in it is forbidden.

    Example: rota token roles
    """
    if json:
        show.write_json({role: sorted(held) for role, held in ROLES.items()})
    else:
        print(tokens.table())


@token.command()
def routes(json: show.Json = False) -> None:
    """Print every route of the control plane with the permission that it asks for.

    Example: rota token routes
    """
    table = control_plane.route_table()
    if json:
        lines = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
        show.write_json({route.strip("`"): asked for route, asked in lines})
    else:
        print(table)


def _role(text: str) -> Role:
    return text  # type: ignore[return-value]  # `access.create` names the roles when it is none


def _limits(token: AccessToken) -> str:
    limits = {"project": token.project, "environment": token.environment, "endpoint": token.endpoint}
    return ", ".join(f"{what} {name}" for what, name in limits.items() if name)
