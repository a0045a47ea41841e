"""deploy/postgres/roles.sql: each service owns its schema and sees no other."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import asyncpg
import pytest

from support.postgres import SECRET, DatabaseUrls, PostgresForTests
from tmws_local.errors import StackError
from tmws_local.roles import ROLES_SQL, SERVICES, apply_roles, role_url, run_sql


@pytest.fixture(scope="module")
def database(postgres: PostgresForTests) -> DatabaseUrls:
    urls = postgres.create_database()
    for service in SERVICES:
        run_sql(
            urls.for_service(service), "CREATE TABLE secret_things (id integer); INSERT INTO secret_things VALUES (1)"
        )
    return urls


@pytest.mark.parametrize("service", SERVICES)
def test_role_creates_in_its_own_schema_by_default(database: DatabaseUrls, service: str) -> None:
    schema = run_sql(
        database.for_service(service),
        "SELECT schemaname FROM pg_tables WHERE tablename = 'secret_things' AND tableowner = current_user",
    )

    assert schema == service


@pytest.mark.parametrize(("reader", "owner"), list(permutations(SERVICES, 2)))
def test_role_cannot_read_the_schema_of_another(database: DatabaseUrls, reader: str, owner: str) -> None:
    with pytest.raises(StackError, match=f"permission denied for schema {owner}"):
        run_sql(database.for_service(reader), f"TABLE {owner}.secret_things")


@pytest.mark.parametrize("service", SERVICES)
def test_role_cannot_create_in_public(database: DatabaseUrls, service: str) -> None:
    with pytest.raises(StackError, match="permission denied for schema public"):
        run_sql(database.for_service(service), "CREATE TABLE public.stray (id integer)")


@pytest.mark.parametrize("service", SERVICES)
def test_role_cannot_become_another(database: DatabaseUrls, service: str) -> None:
    with pytest.raises(StackError, match="permission denied to set role"):
        run_sql(database.for_service(service), "SET ROLE postgres")


@pytest.mark.parametrize("service", SERVICES)
def test_role_has_its_limits(database: DatabaseUrls, service: str) -> None:
    limits = run_sql(
        database.for_service(service),
        "SELECT current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout'),"
        " rolconnlimit, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user",
    )

    assert limits == "15s|15s|40|f|f|f"


def test_memory_uses_the_vector_type_without_naming_its_schema(database: DatabaseUrls) -> None:
    distance = run_sql(database.for_service("memory"), "SELECT '[1,2]'::vector <-> '[1,2]'::halfvec::vector")

    assert distance == "0"


def test_another_service_has_no_access_to_the_vector_type(database: DatabaseUrls) -> None:
    with pytest.raises(StackError, match='type "vector" does not exist'):
        run_sql(database.for_service("task"), "SELECT '[1,2]'::vector")


def test_running_it_again_keeps_the_data(postgres: PostgresForTests) -> None:
    urls = postgres.create_database()
    run_sql(urls.for_service("task"), "CREATE TABLE kept AS SELECT 7 AS value")

    apply_roles(urls.admin, SECRET)

    assert run_sql(urls.for_service("task"), "SELECT value FROM kept") == "7"


def test_four_fresh_databases_run_it_at_once(postgres: PostgresForTests) -> None:
    databases = [postgres.create_empty_database() for _ in range(4)] * 2

    with ThreadPoolExecutor(len(databases)) as pool:
        list(pool.map(lambda urls: apply_roles(urls.admin, SECRET), databases))

    assert {run_sql(urls.for_service("memory"), "SHOW search_path") for urls in databases} == {"memory, public"}


def test_admin_without_superuser_rights_may_run_it(postgres: PostgresForTests) -> None:
    urls = postgres.create_empty_database()
    run_sql(urls.admin, "CREATE EXTENSION vector; CREATE ROLE plain_admin LOGIN CREATEROLE PASSWORD 'x';")
    run_sql(urls.admin, f'GRANT CREATE, CONNECT, TEMPORARY ON DATABASE "{urls.name}" TO plain_admin')
    for service in SERVICES:
        run_sql(urls.admin, f"GRANT tmws_{service} TO plain_admin WITH ADMIN OPTION")

    apply_roles(urls.admin.replace("postgres:admin@", "plain_admin:x@"), SECRET)

    assert run_sql(urls.for_service("task"), "CREATE TABLE mine (id integer); SELECT count(*) FROM mine") == "0"


def test_missing_extension_names_what_to_do(postgres: PostgresForTests) -> None:
    urls = postgres.create_empty_database()
    run_sql(urls.admin, "CREATE ROLE poor_admin LOGIN CREATEROLE PASSWORD 'x';")
    run_sql(urls.admin, f'GRANT CREATE, CONNECT, TEMPORARY ON DATABASE "{urls.name}" TO poor_admin')

    with pytest.raises(
        StackError,
        match=r"poor_admin may not install it\. Ask a superuser to run in this database: CREATE EXTENSION vector",
    ):
        apply_roles(urls.admin.replace("postgres:admin@", "poor_admin:x@"), SECRET)


def test_extension_may_live_in_another_schema(postgres: PostgresForTests, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(lambda: apply_roles(postgres.create_database().admin, SECRET))
    urls = postgres.create_empty_database()
    run_sql(urls.admin, "CREATE SCHEMA extensions; CREATE EXTENSION vector SCHEMA extensions")

    apply_roles(urls.admin, SECRET)

    assert run_sql(urls.for_service("memory"), "SELECT '[1]'::vector") == "[1]"


def test_wrong_password_is_refused(database: DatabaseUrls) -> None:
    with pytest.raises(StackError, match="password authentication failed"):
        run_sql(role_url(database.admin, "another secret", "task"), "SELECT 1")


def test_a_driver_can_send_the_file_as_one_batch(postgres: PostgresForTests, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(lambda: apply_roles(postgres.create_database().admin, SECRET))
    urls = postgres.create_empty_database()
    passwords = {f"tmws.{service}_password": "p" * 64 for service in SERVICES}

    async def send() -> str:
        connection = await asyncpg.connect(urls.admin)
        try:
            for name, value in passwords.items():
                await connection.execute("SELECT set_config($1, $2, false)", name, value)
            await connection.execute(ROLES_SQL.read_text())
            return await connection.fetchval(
                "SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname = ANY($1)",
                list(SERVICES),
            )
        finally:
            await connection.close()

    assert asyncio.run(send()) == " ".join(SERVICES)
