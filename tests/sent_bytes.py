"""Counts the bytes of request bodies where they reach the application."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyBytes:
    """Wraps the application and records its requests: (path, bytes of the body), in order."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, int]] = []

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, its bodies counted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            index = len(self.requests)
            self.requests.append((scope["path"], 0))

            async def counting() -> Message:
                message = await receive()
                path, so_far = self.requests[index]
                self.requests[index] = path, so_far + len(message.get("body", b""))
                return message

            await app(scope, counting, send)

        return counted
