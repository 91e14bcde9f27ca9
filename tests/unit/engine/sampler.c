/* SPDX-License-Identifier: Apache-2.0 */
/* What the sampler may choose, how often, and that it depends on nothing else. */
#include "test.h"
#include "sampler.h"

#include <math.h>

enum { VOCAB = 6, DRAWS = 60000 };

/* Probabilities .4 .05 .3 .05 .15 .05 */
static const double shares[VOCAB] = {.4, .05, .3, .05, .15, .05};

static void fill(float logits[VOCAB])
{
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (float)log(shares[i]) + 7;
}

static void count(struct sampling s, double frequency[VOCAB])
{
    float logits[VOCAB];
    uint32_t work[VOCAB];
    fill(logits);
    for (int i = 0; i < VOCAB; i++)
        frequency[i] = 0;
    for (uint64_t step = 0; step < DRAWS; step++)
        frequency[sampler_pick(&s, step, logits, VOCAB, work)] += 1.0 / DRAWS;
}

static void greedy_takes_the_first_of_the_likeliest(void **state)
{
    float logits[VOCAB] = {1, 3, -2, 3, 0, -INFINITY};
    uint32_t work[VOCAB];
    struct sampling s = {.temperature = 0, .top_p = 0.1f, .seed = 9};
    assert_int_equal(sampler_pick(&s, 0, logits, VOCAB, work), 1);
    sampler_ban(logits, VOCAB, (uint32_t[]){1, 99}, 2);
    assert_int_equal(sampler_pick(&s, 0, logits, VOCAB, work), 3);
}

static void frequencies_follow_the_shares(void **state)
{
    double f[VOCAB];
    count((struct sampling){.temperature = 1, .top_p = 1, .seed = 42}, f);
    for (int i = 0; i < VOCAB; i++)
        assert_true(fabs(f[i] - shares[i]) < 0.01);
    /* temperature 2 takes square roots */
    double sum = 0;
    for (int i = 0; i < VOCAB; i++)
        sum += sqrt(shares[i]);
    count((struct sampling){.temperature = 2, .top_p = 1, .seed = 42}, f);
    for (int i = 0; i < VOCAB; i++)
        assert_true(fabs(f[i] - sqrt(shares[i]) / sum) < 0.01);
}

static void cuts_leave_what_they_should(void **state)
{
    double f[VOCAB];
    count((struct sampling){.temperature = 1, .top_p = 1, .top_k = 2, .seed = 1}, f);
    assert_true(fabs(f[0] - 4 / 7.0) < 0.01 && fabs(f[2] - 3 / 7.0) < 0.01);
    assert_true(f[1] + f[3] + f[4] + f[5] == 0);
    count((struct sampling){.temperature = 1, .top_p = 0.65f, .seed = 1}, f);
    assert_true(fabs(f[0] - 4 / 7.0) < 0.01 && f[4] == 0);
    count((struct sampling){.temperature = 1, .top_p = 0.75f, .seed = 1}, f);
    assert_true(f[4] > 0.1 && f[1] + f[3] + f[5] == 0);
    /* top-p looks at what top-k left: .4 of .7 is more than half */
    count((struct sampling){.temperature = 1, .top_p = 0.5f, .top_k = 2, .seed = 1}, f);
    assert_true(f[0] > 0.999);
    count((struct sampling){.temperature = 1, .top_p = 1, .min_p = 0.3f, .seed = 1}, f);
    assert_true(f[4] > 0.1 && f[1] + f[3] + f[5] == 0);
}

static void seed_and_step_decide_alone(void **state)
{
    float logits[VOCAB];
    uint32_t work[VOCAB];
    fill(logits);
    struct sampling a = {.temperature = 1, .top_p = 0.9f, .seed = 5}, b = a;
    b.seed = 6;
    int differ = 0;
    for (uint64_t step = 0; step < 100; step++) {
        uint32_t first = sampler_pick(&a, step, logits, VOCAB, work);
        assert_int_equal(sampler_pick(&a, step, logits, VOCAB, work), first);
        differ += sampler_pick(&b, step, logits, VOCAB, work) != first;
    }
    assert_true(differ > 20);
}

static void logprobs_are_those_of_the_shares(void **state)
{
    float logits[VOCAB];
    fill(logits);
    struct token_logprob top[3];
    float own = sampler_logprobs(logits, VOCAB, 3, top, 3);
    assert_true(fabs(own - log(.05)) < 1e-5);
    const uint32_t order[3] = {0, 2, 4};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(top[i].id, order[i]);
        assert_true(fabs(top[i].logprob - log(shares[order[i]])) < 1e-5);
    }
}

static void hopeless_logits_are_survived(void **state)
{
    float logits[VOCAB];
    uint32_t work[VOCAB];
    struct sampling s = {.temperature = 1, .top_p = 0.5f, .seed = 1};
    const float hopeless[] = {NAN, -INFINITY, INFINITY, 1e38f};
    for (int h = 0; h < 4; h++) {
        for (int i = 0; i < VOCAB; i++)
            logits[i] = hopeless[h];
        assert_true(sampler_pick(&s, 0, logits, VOCAB, work) < VOCAB);
    }
    s.temperature = 1e-30f;
    fill(logits);
    assert_int_equal(sampler_pick(&s, 0, logits, VOCAB, work), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(greedy_takes_the_first_of_the_likeliest),
    cmocka_unit_test(frequencies_follow_the_shares),
    cmocka_unit_test(cuts_leave_what_they_should),
    cmocka_unit_test(seed_and_step_decide_alone),
    cmocka_unit_test(logprobs_are_those_of_the_shares),
    cmocka_unit_test(hopeless_logits_are_survived),
};
TEST_MAIN(tests)
