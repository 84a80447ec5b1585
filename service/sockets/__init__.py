"""The listener of websockets: an asyncio loop that holds connections, and threads that judge who may have one."""
