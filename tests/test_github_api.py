"""The GitHub client against a server on this machine: credentials, refusals, pages, what it never does."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from qa_env import github_api
from qa_env.errors import Blocked, NotReady
from qa_env.github_api import GitHub, Refused
from tests import canaries
from tests.github_server import TOKEN, Answer, Server, serve

KEY = canaries.app_key()
INSTALLATION_TOKEN = canaries.INSTALLATION_TOKEN


def pem(key: Any, password: bytes | None = None) -> str:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    kind = serialization.PrivateFormat.PKCS8
    return str(key.private_bytes(serialization.Encoding.PEM, kind, encryption).decode())


APP = {"app_id": "12345", "installation_id": "678", "private_key": pem(KEY)}
TOKENS = "/app/installations/678/access_tokens"


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as made:
        yield made


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    """Another host, to which nothing may ever be sent."""
    with serve() as made:
        made.answers["*"] = Answer([])
        yield made


def github(server: Server, credentials: Any = None, path: str = "") -> GitHub:
    return GitHub(f"{server.url}{path}", lambda: {"token": TOKEN} if credentials is None else credentials)


def refusal(act: Callable[[], Any], error: type[Exception]) -> str:
    """What is said, after a look that no secret is in it or in what a log would show of it."""
    with pytest.raises(error) as caught:
        act()
    kind = type(caught.value)
    assert kind is error or (kind is Refused and error is Blocked)
    told = "".join(traceback.format_exception(caught.value))
    for secret in (TOKEN, APP["private_key"], INSTALLATION_TOKEN, "BEGIN PRIVATE KEY"):
        assert secret not in told
    return str(caught.value)


class TestCalls:
    def test_get_reads_json_and_says_who_asks(self, server: Server) -> None:
        """With the headers that GitHub wants, and the token in none but its own."""
        server.answers["/repos/a/b"] = Answer({"id": 1})
        assert github(server).get("/repos/a/b") == {"id": 1}
        (asked,) = server.asked
        assert asked.method == "GET"
        assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
        assert asked.headers["Accept"] == "application/vnd.github+json"
        assert asked.headers["X-GitHub-Api-Version"] == "2022-11-28"
        assert asked.headers["User-Agent"] == "qa-env"
        assert TOKEN not in asked.path

    def test_post_sends_json(self, server: Server) -> None:
        """And reads the answer, also an empty one."""
        server.answers["POST /statuses"] = Answer({"id": 2}, 201)
        assert github(server).post("/statuses", {"state": "pending", "text": "é"}) == {"id": 2}
        assert server.asked[0].body == {"state": "pending", "text": "é"}
        server.answers["POST /statuses"] = Answer("", 201)
        assert github(server).post("/statuses", {}) is None

    def test_patch_changes(self, server: Server) -> None:
        """With JSON, too."""
        server.answers["PATCH /comments/1"] = Answer({"id": 1})
        assert github(server).patch("/comments/1", {"body": "é"}) == {"id": 1}
        assert server.asked[0].body == {"body": "é"}
        refusal(lambda: github(server).patch("/comments/2", {}), LookupError)

    def test_a_path_of_github_enterprise_is_kept(self, server: Server) -> None:
        """With or without a slash at its end."""
        server.answers["/api/v3/user"] = Answer({"id": 3})
        for path in ("/api/v3", "/api/v3/"):
            assert github(server, path=path).get("/user") == {"id": 3}


class TestRefusals:
    def test_a_refused_token_is_read_again(self, server: Server) -> None:
        """The secret was renewed: the next call uses the new one, not the remembered one."""
        tokens = ["old", TOKEN]
        api = GitHub(server.url, lambda: {"token": tokens.pop(0)})
        server.answers["/list"] = Answer({"message": "Bad credentials"}, 401)
        refusal(lambda: api.get("/list"), Blocked)
        server.answers["/list"] = Answer([])
        assert api.get("/list") == []
        assert server.asked[-1].headers["Authorization"] == f"Bearer {TOKEN}"

    def test_not_found_is_a_lookup_error(self, server: Server) -> None:
        """What that means, the caller knows."""
        assert refusal(lambda: github(server).get("/repos/a/b?x=1"), LookupError) == "/repos/a/b"

    def test_an_empty_list_is_no_refusal(self, server: Server) -> None:
        """Nothing is something else than not found."""
        server.answers["/list"] = Answer([])
        assert github(server).get("/list") == []

    @pytest.mark.parametrize(
        ("status", "headers"),
        [
            (500, {}),
            (502, {}),
            (503, {}),
        ],
    )
    def test_a_github_that_cannot_answer_now(
        self, server: Server, status: int, headers: dict[str, str]
    ) -> None:
        """Outages pass: it is asked again."""
        server.answers["/x"] = Answer("<html>Unicorn!</html>", status, headers)
        assert refusal(lambda: github(server).get("/x"), NotReady) == (
            f"GitHub answers {status} to GET /x; trying again"
        )

    @pytest.mark.parametrize("status", [401, 403, 422])
    def test_a_refusal_carries_its_status(self, server: Server, status: int) -> None:
        """Whoever tries what may be refused must know why it was."""
        server.answers["/x"] = Answer({"message": "no"}, status)
        with pytest.raises(Refused) as caught:
            github(server).get("/x")
        assert caught.value.status == status

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_github_that_refuses_us(self, server: Server, status: int) -> None:
        """Only a person can give a permission."""
        server.answers["/x"] = Answer({"message": f"Bad credentials {TOKEN}"}, status)
        assert refusal(lambda: github(server).get("/x"), Blocked) == (
            f"GitHub refuses GET /x ({status}): check the credentials' permissions"
        )

    @pytest.mark.parametrize("status", [400, 409, 410, 422])
    def test_any_other_refusal_needs_a_person(self, server: Server, status: int) -> None:
        """With what was asked."""
        server.answers["POST /x"] = Answer({}, status)
        assert (
            refusal(lambda: github(server).post("/x", {}), Blocked) == f"GitHub answers {status} to POST /x"
        )

    @pytest.mark.parametrize("content", ["<html>Maintenance</html>", "{", "[1,"])
    def test_what_is_not_json(self, server: Server, content: str) -> None:
        """A proxy's page is no answer of GitHub's."""
        server.answers["/x"] = Answer(content)
        assert refusal(lambda: github(server).get("/x"), NotReady).startswith("GitHub cannot be asked: ")

    def test_an_answer_that_breaks_off(self, server: Server) -> None:
        """Half a list is no list."""
        server.answers["/x"] = Answer("[]", headers={"Content-Length": "1000"})
        assert "IncompleteRead" in refusal(lambda: github(server).get("/x"), NotReady)

    def test_what_is_not_http(self) -> None:
        """A port on which something else answers."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            made = GitHub(f"http://127.0.0.1:{listening.getsockname()[1]}", lambda: {"token": TOKEN})

            def speak() -> None:
                connection, _ = listening.accept()
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                connection.close()

            thread = threading.Thread(target=speak)
            thread.start()
            assert "GitHub cannot be asked" in refusal(lambda: made.get("/x"), NotReady)
            thread.join()

    def test_nobody_at_home(self) -> None:
        """A connection that is refused passes as well."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert "URLError" in refusal(lambda: GitHub(url, lambda: {"token": TOKEN}).get("/x"), NotReady)

    def test_nobody_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A pass does not wait for ever."""
        monkeypatch.setattr(github_api, "TIMEOUT", 0.05)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            made = GitHub(f"http://127.0.0.1:{listening.getsockname()[1]}", lambda: {"token": TOKEN})
            assert "GitHub cannot be asked" in refusal(lambda: made.get("/x"), NotReady)

    def test_its_reason_is_told_in_one_short_line(self, server: Server) -> None:
        """As far as a person can use it; what is not the message stays where it is."""
        reason = "Validation Failed:\n\tno ref\n" + "x" * 500
        server.answers["POST /x"] = Answer({"message": reason, "documentation_url": "https://…"}, 422)
        said = refusal(lambda: github(server).post("/x", {}), Blocked)
        assert said == "GitHub answers 422 to POST /x: " + ("Validation Failed: no ref " + "x" * 500)[:200]

    @pytest.mark.parametrize("content", ["<html>", [], "null", {"message": None}, {"message": 7}])
    def test_a_reason_that_is_none(self, server: Server, content: Any) -> None:
        server.answers["POST /x"] = Answer(content, 422)
        assert refusal(lambda: github(server).post("/x", {}), Blocked).startswith("GitHub answers 422 to")


class TestLimits:
    """GitHub says that it is asked too often, and until when: nobody asks before."""

    NOW = 1_800_000_000.0  # 08:00:00 UTC

    @pytest.mark.parametrize(
        ("answer", "seconds"),
        [
            (Answer({}, 403, {"Retry-After": "30"}), 30),
            (Answer({}, 429, {"Retry-After": "30"}), 30),
            (Answer({}, 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000600"}), 600),
            (Answer({}, 429, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000600"}), 600),
            (Answer({}, 403, {"X-RateLimit-Remaining": "0"}), 60),
            (Answer({"message": "You have exceeded a secondary rate limit."}, 403), 60),
            (Answer({"message": "You have exceeded a secondary rate limit."}, 429), 60),
            (Answer({}, 429), 60),
            (Answer({}, 429, {"Retry-After": "soon"}), 60),
            (Answer({}, 403, {"Retry-After": "0"}), 1),
            (Answer({}, 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700000000"}), 1),
            (Answer({}, 429, {"Retry-After": "999999"}), 3600),
        ],
    )
    def test_it_is_silent_for_as_long_as_github_says(
        self, server: Server, answer: Answer, seconds: int
    ) -> None:
        """And not a call longer: one second before nothing is sent, then all goes on."""
        now = [self.NOW]
        api = GitHub(server.url, lambda: {"token": TOKEN}, clock=lambda: now[0])
        server.answers["/x"], server.answers["POST /y"] = answer, Answer({"id": 1}, 201)
        said = refusal(lambda: api.get("/x"), NotReady)
        now[0] += seconds - 0.5
        assert refusal(lambda: api.get("/x"), NotReady) == said
        assert refusal(lambda: api.post("/y", {}), NotReady) == said
        assert refusal(lambda: api.patch("/y", {}), NotReady) == said
        assert len(server.asked) == 1
        now[0] += 0.5
        assert api.post("/y", {}) == {"id": 1}

    def test_it_says_when_it_goes_on(self, server: Server) -> None:
        """So that a person knows that it does."""
        api = GitHub(server.url, lambda: {"token": TOKEN}, clock=lambda: self.NOW)
        server.answers["/x"] = Answer({}, 429, {"Retry-After": "90"})
        assert refusal(lambda: api.get("/x"), NotReady) == (
            "GitHub limits how often it is asked; going on at 08:01:30 UTC"
        )

    def test_calls_that_are_left_are_no_limit(self, server: Server) -> None:
        """GitHub sends these headers with every answer."""
        headers = {"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": "9999999999"}
        server.answers["/x"] = Answer({}, 403, headers)
        api = github(server)
        assert "check the credentials" in refusal(lambda: api.get("/x"), Blocked)
        server.answers["/x"] = Answer({"id": 1}, headers={"X-RateLimit-Remaining": "0"})
        assert api.get("/x") == api.get("/x") == {"id": 1}

    def test_an_app_buys_no_token_meanwhile(self, server: Server) -> None:
        """That is a call like any other."""
        now = [self.NOW]
        api = GitHub(server.url, lambda: APP, clock=lambda: now[0])
        server.answers[f"POST {TOKENS}"] = Answer({}, 429)
        refusal(lambda: api.get("/x"), NotReady)
        refusal(lambda: api.get("/x"), NotReady)
        assert len(server.asked) == 1


class TestElsewhere:
    """The credentials go to the host that the blueprint names, and to no other."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_no_redirect_is_followed(
        self, server: Server, elsewhere: Server, status: int, method: str
    ) -> None:
        """A renamed repository is said to be one; the token is not carried on."""
        server.answers["/repos/a/b"] = Answer("", status, {"Location": f"{elsewhere.url}/repositories/1"})
        made = github(server)
        said = refusal(
            lambda: made.get("/repos/a/b") if method == "GET" else made.post("/repos/a/b", {}), Blocked
        )
        assert said == (
            f"GitHub redirects {method} /repos/a/b ({status}): was the repository renamed?"
            " Rename it in the blueprint, and list the old name in formerly"
        )
        assert elsewhere.asked == []
        assert len(server.asked) == 1

    def test_no_redirect_on_the_same_host_is_followed(self, server: Server) -> None:
        """The blueprint should say what the repository is called."""
        server.answers["/repos/a/b"] = Answer("", 301, {"Location": f"{server.url}/repositories/1"})
        server.answers["/repositories/1"] = Answer({"id": 1})
        assert "renamed" in refusal(lambda: github(server).get("/repos/a/b"), Blocked)
        assert [one.path for one in server.asked] == ["/repos/a/b"]

    def test_no_next_page_elsewhere(self, server: Server, elsewhere: Server) -> None:
        """And the end of the listing is not taken for its whole."""
        server.answers["/list"] = Answer([1], headers={"Link": f'<{elsewhere.url}/list?page=2>; rel="next"'})
        pages = github(server).pages("/list")
        assert next(pages) == [1]
        assert "next page is not under" in refusal(lambda: next(pages), Blocked)
        assert elsewhere.asked == []

    @pytest.mark.parametrize(
        "host", ["{url}.evil.example", "{url}@evil.example", "{url}0", "//evil.example", "/list"]
    )
    def test_no_next_page_on_a_host_that_looks_alike(self, server: Server, host: str) -> None:
        """The address must go on with a slash, or it is another host."""
        link = f'<{host.format(url=server.url)}/list?page=2>; rel="next"'
        server.answers["/list"] = Answer([1], headers={"Link": link})
        assert "next page is not under" in refusal(lambda: list(github(server).pages("/list")), Blocked)
        assert len(server.asked) == 1


class TestPages:
    def link(self, server: Server, number: int) -> dict[str, str]:
        first, last = f'<{server.url}/list?page=1>; rel="first"', f'<{server.url}/list?page=9>; rel="last"'
        return {"Link": f'{first}, <{server.url}/list?page={number}>; rel="next", {last}'}

    def test_pages_are_followed_to_the_end(self, server: Server) -> None:
        """By the address that GitHub gives, with the credentials each time."""
        server.answers["/list"] = Answer([1], headers=self.link(server, 2))
        server.answers["/list?page=2"] = Answer([2], headers=self.link(server, 3))
        server.answers["/list?page=3"] = Answer([3], headers={"Link": f'<{server.url}/list>; rel="first"'})
        assert list(github(server).pages("/list")) == [[1], [2], [3]]
        assert server.authorizations == [f"Bearer {TOKEN}"] * 3

    def test_a_page_that_fails_fails_the_listing(self, server: Server) -> None:
        """The first half is not the whole."""
        server.answers["/list"] = Answer([1], headers=self.link(server, 2))
        server.answers["/list?page=2"] = Answer("", 502)
        assert "502" in refusal(lambda: list(github(server).pages("/list")), NotReady)

    def test_a_listing_without_end_is_given_up(self, server: Server) -> None:
        """After ten pages, and not as if it had ended there."""
        server.answers["*"] = Answer([0], headers=self.link(server, 2))
        assert refusal(lambda: list(github(server).pages("/list")), Blocked) == (
            "GitHub has more than 10 pages of /list"
        )
        assert len(server.asked) == 10

    def test_pages_are_asked_for_as_they_are_read(self, server: Server) -> None:
        """Who found what it wanted asks no more."""
        server.answers["*"] = Answer([0], headers=self.link(server, 2))
        next(github(server).pages("/list"))
        assert len(server.asked) == 1


class TestToken:
    def test_it_is_read_at_the_first_call_only(self, server: Server) -> None:
        """A sandbox that never asks never reads the secret; one that asks often reads it once."""
        server.answers["/x"] = Answer({})
        read: list[int] = []

        def credentials() -> dict[str, str]:
            read.append(1)
            return {"token": TOKEN}

        made = GitHub(server.url, credentials)
        assert read == []
        made.get("/x")
        made.get("/x")
        assert read == [1]

    def test_it_is_read_again_after_a_while(self, server: Server) -> None:
        """A rotated token is used within minutes."""
        server.answers["/x"] = Answer({})
        tokens, now = iter(["old", "new"]), [1_800_000_000.0]
        made = GitHub(server.url, lambda: {"token": next(tokens)}, clock=lambda: now[0])
        made.get("/x")
        now[0] += github_api.EARLY + 1
        made.get("/x")
        assert server.authorizations == ["Bearer old", "Bearer new"]

    def test_a_line_end_in_the_secret_does_no_harm(self, server: Server) -> None:
        """Editors like to add one."""
        server.answers["/x"] = Answer({})
        github(server, {"token": f"{TOKEN}\n"}).get("/x")
        assert server.authorizations == [f"Bearer {TOKEN}"]

    def test_it_is_in_no_text_of_the_client(self, server: Server) -> None:
        """Whoever logs the client logs no secret."""
        server.answers["/x"] = Answer({})
        made = github(server)
        made.get("/x")
        assert TOKEN not in repr(made)

    @pytest.mark.parametrize(
        "credentials", [{}, {"app_id": "1"}, [], "text", None, 7, {"installation_id": "x", "app_id": "1"}]
    )
    def test_a_secret_that_holds_nothing_of_use(self, server: Server, credentials: Any) -> None:
        """Blocked, with what it must hold; GitHub is not asked."""
        said = refusal(lambda: GitHub(server.url, lambda: credentials).get("/x"), Blocked)
        assert "must hold token, or app_id, installation_id and private_key (PEM" in said
        assert server.asked == []

    def test_a_secret_that_is_not_json(self, server: Server) -> None:
        """Most likely the bare token, which is not repeated."""
        said = refusal(lambda: GitHub(server.url, lambda: json.loads(TOKEN)).get("/x"), Blocked)
        assert said.startswith("the GitHub secret is not JSON: it must hold token")

    def test_what_a_reader_said_of_the_secret_is_not_repeated(self, server: Server) -> None:
        """Not even as the cause that a log would show."""

        def read() -> dict[str, str]:
            raise ValueError(f"cannot read {TOKEN}")

        refusal(lambda: GitHub(server.url, read).get("/x"), Blocked)


class TestApp:
    def claims(self, jwt: str) -> dict[str, Any]:
        """What a JWT says, after its signature is verified with the public key."""
        signed, _, signature = jwt.rpartition(".")
        KEY.public_key().verify(unpadded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        header, payload = signed.split(".")
        assert json.loads(unpadded(header)) == {"alg": "RS256", "typ": "JWT"}
        return dict(json.loads(unpadded(payload)))

    def test_a_signed_jwt_buys_a_token(self, server: Server) -> None:
        """The JWT is for the App, short-lived, and used for nothing but the installation's token."""
        server.answers[f"POST {TOKENS}"] = Answer({"token": INSTALLATION_TOKEN}, 201)
        server.answers["/x"] = Answer({"id": 1})
        assert github(server, APP).get("/x") == {"id": 1}
        first, second = server.authorizations
        claims = self.claims(first.removeprefix("Bearer "))
        now = time.time()
        assert claims["iss"] == "12345"
        assert now - 90 < claims["iat"] <= now
        assert now < claims["exp"] <= now + 600
        assert second == f"Bearer {INSTALLATION_TOKEN}"

    def test_the_check_of_the_signature_can_fail(self) -> None:
        """A JWT signed by another key is none of ours."""
        other = pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
        with pytest.raises(Exception, match=r"^$") as caught:
            self.claims(github_api._jwt("12345", other, int(time.time())))
        assert type(caught.value).__name__ == "InvalidSignature"

    def test_the_token_is_kept_for_most_of_its_hour(self, server: Server) -> None:
        """One purchase for many calls; a new one before GitHub would refuse the old."""
        server.answers[f"POST {TOKENS}"] = Answer({"token": INSTALLATION_TOKEN}, 201)
        server.answers["/x"] = Answer({})
        now = [1_800_000_000.0]
        made = GitHub(server.url, lambda: APP, clock=lambda: now[0])
        made.get("/x")
        now[0] += 3600 - github_api.EARLY - 10
        made.get("/x")
        assert [one.method for one in server.asked] == ["POST", "GET", "GET"]
        now[0] += 20
        made.get("/x")
        assert [one.method for one in server.asked][3:] == ["POST", "GET"]

    def test_numbers_as_numbers(self, server: Server) -> None:
        """JSON has them, and people write them."""
        server.answers[f"POST {TOKENS}"] = Answer({"token": INSTALLATION_TOKEN}, 201)
        server.answers["/x"] = Answer({})
        github(server, APP | {"app_id": 12345, "installation_id": 678}).get("/x")
        assert self.claims(server.authorizations[0].removeprefix("Bearer "))["iss"] == "12345"

    @pytest.mark.parametrize(
        "key",
        [
            "",
            "not a key",
            None,
            7,
            APP["private_key"][:200],
            pem(KEY, b"passphrase"),
            pem(ec.generate_private_key(ec.SECP256R1())),
        ],
        ids=["empty", "text", "null", "number", "cut off", "encrypted", "not RSA"],
    )
    def test_a_key_that_is_none(self, server: Server, key: Any) -> None:
        """Blocked, with what the secret must hold, and nothing of the key in it."""
        said = refusal(lambda: github(server, APP | {"private_key": key}).get("/x"), Blocked)
        assert said.startswith("the GitHub secret cannot be used: it must hold")
        assert server.asked == []

    def test_an_installation_that_is_not_there(self, server: Server) -> None:
        """GitHub does not know it: that is not the repository's fault, but it is "not found"."""
        assert refusal(lambda: github(server, APP).get("/x"), LookupError) == TOKENS

    @pytest.mark.parametrize(("status", "error"), [(401, Blocked), (403, Blocked), (503, NotReady)])
    def test_a_github_that_sells_no_token(self, server: Server, status: int, error: type[Exception]) -> None:
        """The same rules as for any other call."""
        server.answers[f"POST {TOKENS}"] = Answer({"message": "no"}, status)
        assert TOKENS in refusal(lambda: github(server, APP).get("/x"), error)


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
