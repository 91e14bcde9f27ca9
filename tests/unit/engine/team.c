/* SPDX-License-Identifier: Apache-2.0 */
/* A team runs together, waits together and sees each other's writes. */
#include "test.h"
#include "team.h"

enum { MOST = 5, ROUNDS = 500 };

struct game {
    struct team *team;
    uint32_t n;
    uint32_t table[MOST]; /* written by its member alone, read by all after a barrier */
    uint32_t wrong[MOST];
};

static void play(void *argument, uint32_t member)
{
    struct game *game = argument;
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        game->table[member] += round;
        team_barrier(game->team, member);
        for (uint32_t i = 0; i < game->n; i++)
            game->wrong[member] += game->table[i] != game->table[member];
        team_barrier(game->team, member);
    }
}

static void all_keep_step(void **state)
{
    for (uint32_t n = 1; n <= MOST; n++) {
        struct game game = {.n = n};
        assert_int_equal(team_open(&game.team, n), 0);
        for (int run = 1; run <= 3; run++) {
            team_run(game.team, play, &game);
            for (uint32_t i = 0; i < n; i++) {
                assert_int_equal(game.wrong[i], 0);
                assert_int_equal(game.table[i], run * (ROUNDS * (ROUNDS + 1) / 2));
            }
        }
        team_close(game.team);
    }
}

static void a_team_may_never_run(void **state)
{
    struct team *team;
    assert_int_equal(team_open(&team, 3), 0);
    team_close(team);
    team_close(NULL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(all_keep_step),
    cmocka_unit_test(a_team_may_never_run),
};
TEST_MAIN(tests)
