"""Tasks of the first release go on in this one."""

import asyncio

import asyncpg
from alembic import command
from alembic.config import Config

from support.postgres import DatabaseUrls, PostgresForTests
from support.service import running, settings_for
from support.tasks import Board
from tmws_task.app import build
from tmws_task.settings import TaskSettings

OLD = """
    INSERT INTO tasks (id, namespace, title, status, priority, unmet, result) VALUES
        ('00000000-0000-7000-8000-000000000001', 'default', 'done', 'completed', 'low', 0, '{"a": 1}'),
        ('00000000-0000-7000-8000-000000000002', 'default', 'base', 'pending', 'low', 0, NULL),
        ('00000000-0000-7000-8000-000000000003', 'default', 'middle', 'pending', 'medium', 1, NULL),
        ('00000000-0000-7000-8000-000000000004', 'default', 'top', 'pending', 'urgent', 2, NULL),
        ('00000000-0000-7000-8000-000000000005', 'default', 'lost', 'failed', 'urgent', 1, NULL);
    INSERT INTO task_dependencies (task_id, depends_on)
    SELECT ('00000000-0000-7000-8000-00000000000' || t)::uuid, ('00000000-0000-7000-8000-00000000000' || d)::uuid
    FROM (VALUES (2, 1), (3, 2), (4, 3), (4, 2), (5, 3)) e (t, d)
"""


def migrate_to_the_first(urls: DatabaseUrls) -> None:
    config = Config()
    config.set_main_option("script_location", "tmws_task:migrations")
    config.attributes.update(url=urls.for_service("task"), schema="task")
    command.upgrade(config, "0001")


async def test_open_tasks_inherit_and_finished_ones_are_counted(postgres: PostgresForTests):
    database = postgres.create_database()
    await asyncio.to_thread(migrate_to_the_first, database)
    connection = await asyncpg.connect(database.for_service("task"))
    await connection.execute(OLD)
    await connection.close()
    async with running(build(settings_for(TaskSettings, "task", database)), "task") as task:
        board = Board(task, "default")
        listed = {one["title"]: one for one in (await board.call("GET")).json()["items"]}
        counted = (await task.call("GET", "/stats")).json()
        (claimed,) = await board.claim(limit=10)
        await board.complete(claimed)
        (then,) = await board.claim(limit=10)
    assert {title: one["effective_priority"] for title, one in listed.items()} == {
        "done": "low", "base": "urgent", "middle": "urgent", "top": "urgent", "lost": "urgent",
    }  # fmt: skip
    assert counted["by_status"]["completed"] == counted["by_status"]["failed"] == 1
    assert (claimed["title"], claimed["score_breakdown"]["unblocks"]) == ("base", 1.0)
    assert then["title"] == "middle"
