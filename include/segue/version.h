/* SPDX-License-Identifier: Apache-2.0 */
/* The library's version, and how its symbols are marked. */
#ifndef SEGUE_VERSION_H
#define SEGUE_VERSION_H

#ifdef __cplusplus
extern "C" {
#endif

#define SEGUE_API __attribute__((visibility("default")))

/* What: the version of the library that is running, "MAJOR.MINOR.PATCH". Static storage.
 * Any thread. */
SEGUE_API const char *segue_version(void);

#ifdef __cplusplus
}
#endif
#endif
