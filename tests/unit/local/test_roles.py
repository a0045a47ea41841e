"""URLs and passwords of the database roles."""

import pytest

from tmws_local.errors import StackError
from tmws_local.roles import connection_environment, derived_password, role_url

SECRET = "s" * 32


def test_password_depends_on_the_role() -> None:
    assert derived_password(SECRET, "tmws_task") != derived_password(SECRET, "tmws_memory")


def test_password_depends_on_the_secret() -> None:
    assert derived_password(SECRET, "tmws_task") != derived_password("t" * 32, "tmws_task")


@pytest.mark.parametrize(
    ("admin", "expected"),
    [
        ("postgresql://a:b@db:5432/tmws", "postgresql://tmws_task:{}@db:5432/tmws"),
        ("postgresql+asyncpg://a:b@db/tmws", "postgresql://tmws_task:{}@db/tmws"),
        ("postgresql://a:b@/tmws?host=/run/pg&port=5432", "postgresql://tmws_task:{}@/tmws?host=/run/pg&port=5432"),
        ("postgresql://db/tmws?user=a&password=b&sslmode=require", "postgresql://tmws_task:{}@db/tmws?sslmode=require"),
    ],
)
def test_role_url_changes_only_the_login(admin: str, expected: str) -> None:
    assert role_url(admin, SECRET, "task") == expected.format(derived_password(SECRET, "tmws_task"))


def test_url_becomes_the_variables_of_libpq() -> None:
    variables = connection_environment("postgresql://me:p%40ss@db:6000/tmws?sslmode=require&application_name=x")

    assert variables == {
        "PGUSER": "me",
        "PGPASSWORD": "p@ss",
        "PGHOST": "db",
        "PGPORT": "6000",
        "PGDATABASE": "tmws",
        "PGSSLMODE": "require",
        "PGAPPNAME": "x",
        "PGCONNECT_TIMEOUT": "5",
    }


def test_unreadable_url_is_refused_without_repeating_it() -> None:
    with pytest.raises(StackError) as caught:
        connection_environment("postgresql://me:top/secret@db/tmws")

    assert "top" not in str(caught.value)
