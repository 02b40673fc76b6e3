"""The explorer's web application, put together."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from flows.explorer import class_routes, correspondence_routes, image_routes
from flows.explorer.answers import HANDLERS
from flows.explorer.home import home_routes, loose_routes
from flows.explorer.state import Explorer
from flows.explorer.teaching import teaching_routes

STATIC = Path(__file__).with_name("static")
"""The page's own files."""


def application(explorer: Explorer) -> FastAPI:
    """The web application; it lets everybody in, so it wants a guard."""
    app = FastAPI(openapi_url=None, redirect_slashes=False, exception_handlers=HANDLERS)
    app.state.explorer = explorer
    subjects = (
        home_routes.router,
        loose_routes.router,
        correspondence_routes.router,
        class_routes.router,
        teaching_routes.router,
        explorer.exporting.router(),
        image_routes.router,  # last: an image of any kind would take other addresses of three parts
    )
    for router in subjects:
        app.include_router(router, prefix="/api")
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_api_route("/", page, response_class=FileResponse)
    return app


def page() -> Path:
    """The page itself."""
    return STATIC / "index.html"
