/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the engine reports errors: functions return 0 or -1, and whoever detects the error
 * writes one sentence, kept per thread, that names the thing and says what to do.
 */
#ifndef ENGINE_FAIL_H
#define ENGINE_FAIL_H

/* Stores the sentence (cut at 511 bytes) and returns -1, so that a caller can write
 * `return engine_fail(...)`. Any thread. */
int engine_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The sentence of the last failure on this thread, "" when there was none. Borrowed:
 * valid until the thread's next failure. */
const char *engine_error(void);

#endif
