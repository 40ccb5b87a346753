"""The task queue and the public store on Redis. Needs the extra ``redis``."""

from __future__ import annotations

from musicq_async.redis.server import RedisServer, open_redis, redis_of
from musicq_async.redis.store import RedisPublicStore
from musicq_async.redis.tasks import RedisTaskQueue

__all__ = ["RedisPublicStore", "RedisServer", "RedisTaskQueue", "open_redis", "redis_of"]
