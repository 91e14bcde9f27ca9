/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An agent that listens for other hosts, among peers that do not have its key, or speak
 * anything: none becomes a link or a data stream, each is gone after the connect
 * deadline, who has the key gets in all the same. And an agent that dials an impostor.
 */
#include "conformance/agents.h"

#include "agent/stranger.h"
#include "agent/trust.h"
#include "base/random.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <sys/socket.h>

static char key_a[100], key_b[100];
static struct segue_keys keys_a, keys_b;
static segue_agent *victim, *friend_;
static int fds_before;

static segue_agent *make_keyed(const char *name, const char *key, const char *listen)
{
    struct segue_agent_opts opts = quick_opts(name);
    segue_agent *agent;
    opts.key = key;
    opts.listen = listen;
    opts.connect_ns = 500 * SEGUE_NS_PER_MS;
    assert_ok(segue_agent_create(&opts, &agent));
    return agent;
}

static int fixture_open(void **state)
{
    victim = make_keyed("victim", key_a, "127.0.0.1:0");
    fds_before = open_fds();
    friend_ = make_keyed("friend", key_a, NULL);
    return 0;
}

static enum segue_status count(struct segue_agent *agent, void *arg)
{
    *(uint32_t *)arg = agent->n_links + agent->n_strangers;
    return SEGUE_OK;
}

/* Who has the key gets in, whatever the others did; and of those nothing stays. */
static int fixture_close(void **state)
{
    struct segue_link *link;
    uint32_t left = 1;
    assert_ok(get_link(friend_, victim->network, victim->incarnation, &link));
    assert_true(link->network);
    segue_agent_destroy(friend_);
    for (int i = 0; i < 2000 && left; i++) {
        segue_agent_call(victim, count, &left);
        usleep(5000);
    }
    assert_int_equal(left, 0);
    assert_int_equal(open_fds(), fds_before);
    segue_agent_destroy(victim);
    return 0;
}

/* ---- raw sockets ---- */

static int dial_port(const char *network)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(strrchr(network, ':') + 1)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void shout(int fd, const void *data, size_t len)
{
    if (len)
        (void)!send(fd, data, len, MSG_NOSIGNAL);
}

/* Reads what comes until the other side closes, which it must. */
static size_t read_to_end(int fd, uint8_t *out, size_t cap)
{
    size_t got = 0;
    for (;;) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, PATIENCE_S * 1000) != 1)
            fail_msg("the connection stays open");
        ssize_t n = recv(fd, out + got, cap - got, 0);
        if (n <= 0)
            return got;
        got += (size_t)n;
        assert_true(got < cap);
    }
}

static void is_closed(int fd)
{
    uint8_t bytes[4096];
    read_to_end(fd, bytes, sizeof bytes);
    close(fd);
}

/* ---- attackers that speak TLS ---- */

/* The TLS of a peer that knows the protocol and chooses what it proves. */
struct attacker {
    SSL_CTX *context;
    SSL *ssl;
    bool server, certificate;
    const uint8_t *secret; /* 32 bytes, or NULL: no key */
    const char *identity;
};

static SSL_SESSION *attacker_session(SSL *ssl)
{
    struct attacker *a = SSL_get_app_data(ssl);
    SSL_SESSION *session = SSL_SESSION_new();
    SSL_SESSION_set1_master_key(session, a->secret, 32);
    SSL_SESSION_set_cipher(session,
                           SSL_CIPHER_find(ssl, (const unsigned char[]){0x13, 0x01}));
    SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION);
    return session;
}

static int attacker_uses(SSL *ssl, const EVP_MD *md, const unsigned char **id,
                         size_t *len, SSL_SESSION **session)
{
    struct attacker *a = SSL_get_app_data(ssl);
    *session = a->secret ? attacker_session(ssl) : NULL;
    *id = a->secret ? (const unsigned char *)a->identity : NULL;
    *len = a->secret ? strlen(a->identity) : 0;
    return 1;
}

static int attacker_finds(SSL *ssl, const unsigned char *id, size_t len,
                          SSL_SESSION **session)
{
    struct attacker *a = SSL_get_app_data(ssl);
    *session = a->secret ? attacker_session(ssl) : NULL;
    return 1;
}

static int any_certificate(int good, X509_STORE_CTX *store)
{
    return 1;
}

static void add_certificate(SSL_CTX *context)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    assert_non_null(key);
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"victim", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    assert_int_equal(SSL_CTX_use_certificate(context, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
}

/* Greets with the id of key a, which everybody can hear, then shakes hands. True when the
 * handshake is complete for this side. `said`: what came inside, if anything. */
static bool attack(struct attacker *a, int fd, size_t *said)
{
    uint8_t greeting[SEGUE_GREETING_BYTES];
    char byte;
    struct timeval patience = {PATIENCE_S, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    segue_greeting_write(&keys_a, greeting);
    shout(fd, greeting, sizeof greeting);
    if (recv(fd, greeting, sizeof greeting, MSG_WAITALL) != sizeof greeting)
        return false;
    a->context = SSL_CTX_new(TLS_method());
    SSL_CTX_set_psk_use_session_callback(a->context, attacker_uses);
    SSL_CTX_set_psk_find_session_callback(a->context, attacker_finds);
    SSL_CTX_set_verify(a->context, a->server ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
                       any_certificate);
    if (a->certificate)
        add_certificate(a->context);
    a->ssl = SSL_new(a->context);
    SSL_set_app_data(a->ssl, a);
    SSL_set_fd(a->ssl, fd);
    bool done = (a->server ? SSL_accept(a->ssl) : SSL_connect(a->ssl)) == 1;
    int n = done ? SSL_read(a->ssl, &byte, 1) : 0;
    *said = n > 0 ? (size_t)n : 0;
    SSL_free(a->ssl);
    SSL_CTX_free(a->context);
    return done;
}

/* ---- an impostor that listens ---- */

struct impostor {
    struct attacker attacker;
    int listener;
    char address[40];
    bool done;
    size_t said;
    pthread_t thread;
};

static void *impersonate(void *arg)
{
    struct impostor *i = arg;
    int fd = accept(i->listener, NULL, NULL);
    i->done = attack(&i->attacker, fd, &i->said);
    close(fd);
    return NULL;
}

static void impostor_start(struct impostor *i)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    i->attacker.server = true;
    i->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(i->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(i->listener, 1), 0);
    getsockname(i->listener, (struct sockaddr *)&at, &len);
    snprintf(i->address, sizeof i->address, "tcp:127.0.0.1:%u", ntohs(at.sin_port));
    pthread_create(&i->thread, NULL, impersonate, i);
}

/* Our friend dials it; what comes of that. */
static enum segue_status friend_meets(struct impostor *i)
{
    struct segue_link *link;
    char why[256];
    impostor_start(i);
    enum segue_status status = get_link(friend_, i->address, NULL, &link);
    snprintf(why, sizeof why, "%s", segue_error_detail());
    pthread_join(i->thread, NULL);
    close(i->listener);
    return status < 0 ? segue_fail(status, "%s", why) : status;
}

static void derive(const struct segue_keys *keys, uint8_t out[SEGUE_KEY_BYTES])
{
    segue_key_derive(&keys->key[0], "segue tls 1", out);
}

/* The attacker of these tests, with the true key, is let in: so the others are kept out by
 * what they lack, and not by a mistake of theirs. */
static void the_true_key_gets_in(void **state)
{
    char id[9];
    uint8_t secret[SEGUE_KEY_BYTES];
    size_t said;
    segue_key_id_text(keys_a.key[0].id, id);
    derive(&keys_a, secret);
    struct attacker client = {.secret = secret, .identity = id};
    int fd = dial_port(victim->network);
    /* Let in, and then closed for saying nothing, like anybody. */
    assert_true(attack(&client, fd, &said));
    close(fd);
    struct impostor server = {.attacker = {.secret = secret}};
    assert_status(friend_meets(&server), SEGUE_E_LOST);
    assert_true(server.done);
    assert_int_equal(server.said, 1); /* its opening */
}

/* A server with a certificate: OpenSSL alone would accept it when the key is not taken. */
static void a_certificate_proves_nothing(void **state)
{
    struct impostor server = {.attacker = {.certificate = true}};
    assert_status(friend_meets(&server), SEGUE_E_AUTH);
    assert_non_null(
        strstr(segue_error_detail(), "certificate where it has to prove key"));
    assert_int_equal(server.said, 0); /* not a byte of ours */
    size_t said;
    struct attacker client = {.certificate = true};
    int fd = dial_port(victim->network);
    assert_false(attack(&client, fd, &said));
    close(fd);
}

/* The id is public; the secret is not. */
static void another_secret_under_our_id(void **state)
{
    char id[9];
    uint8_t secret[SEGUE_KEY_BYTES];
    size_t said;
    segue_key_id_text(keys_a.key[0].id, id);
    derive(&keys_b, secret);
    struct attacker client = {.secret = secret, .identity = id};
    int fd = dial_port(victim->network);
    assert_false(attack(&client, fd, &said));
    close(fd);
    struct impostor server = {.attacker = {.secret = secret}};
    assert_status(friend_meets(&server), SEGUE_E_AUTH);
    assert_int_equal(server.said, 0);
}

static void wrong_keys_are_named_to_both(void **state)
{
    char a[9], b[9], want[100];
    uint8_t greeting[SEGUE_GREETING_BYTES + 1];
    struct segue_link *link;
    struct segue_keys common;
    segue_agent *stranger = make_keyed("stranger", key_b, NULL);
    segue_key_id_text(keys_a.key[0].id, a);
    segue_key_id_text(keys_b.key[0].id, b);
    assert_status(get_link(stranger, victim->network, NULL, &link), SEGUE_E_AUTH);
    snprintf(want, sizeof want, "wrong key: the peer has key %s, we have %s", a, b);
    assert_non_null(strstr(segue_error_detail(), want));
    segue_agent_destroy(stranger);
    /* The other direction, where who dials has the other key: it is told ours, and no more. */
    int fd = dial_port(victim->network);
    segue_greeting_write(&keys_b, greeting);
    shout(fd, greeting, SEGUE_GREETING_BYTES);
    assert_int_equal(read_to_end(fd, greeting, sizeof greeting), SEGUE_GREETING_BYTES);
    close(fd);
    assert_status(segue_greeting_read(greeting, &keys_b, &common), SEGUE_E_AUTH);
    assert_non_null(strstr(segue_error_detail(), want));
}

static void garbage(void **state)
{
    uint8_t bytes[4096], greeting[SEGUE_GREETING_BYTES];
    segue_greeting_write(&keys_a, greeting);
    static const char *const words[] = {
        "",
        "S",
        "SGU",
        "SGUT",
        "SGUL",
        "SGUD",
        "SGUX",
        "GET / HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", /* TLS without a greeting */
        "SGUT\x02\x01",
        "SGUT\x01\xff",
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        for (int half = 0; half < 2; half++) {
            int fd = dial_port(victim->network);
            shout(fd, words[i], strlen(words[i]));
            if (half)
                shutdown(fd, SHUT_WR);
            is_closed(fd);
        }
    for (int i = 0; i < 100; i++) {
        int fd = dial_port(victim->network);
        segue_random_fill(bytes, sizeof bytes);
        if (i % 2)
            shout(fd, greeting, sizeof greeting);
        if (i % 4 == 3) { /* a record that says it is a handshake's */
            bytes[0] = 0x16;
            bytes[1] = 3;
            bytes[2] = 1;
            bytes[3] = (uint8_t)(i % 64);
        }
        shout(fd, bytes, sizeof bytes);
        close(fd);
    }
}

/* A byte now and then, through greeting and handshake, does not buy more time. */
static void slow_handshakes(void **state)
{
    uint8_t greeting[SEGUE_GREETING_BYTES];
    segue_greeting_write(&keys_a, greeting);
    for (size_t told = 0; told < 2; told++) {
        int fd = dial_port(victim->network);
        if (told)
            shout(fd, greeting, sizeof greeting);
        uint64_t began = segue_now_ns();
        struct pollfd p = {fd, POLLIN, 0};
        char answer[64];
        for (size_t i = 0;; i++) {
            const uint8_t hello[] = {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3};
            shout(fd, told ? &hello[i % sizeof hello] : &greeting[i % 3], 1);
            if (poll(&p, 1, 40) == 1 && recv(fd, answer, sizeof answer, 0) <= 0)
                break;
            if (segue_now_ns() - began > PATIENCE_S * SEGUE_NS_PER_S)
                fail_msg("a slow handshake is waited for");
        }
        close(fd);
    }
}

static void floods(void **state)
{
    enum { MANY = 300 };
    int fds[MANY];
    struct segue_link *link;
    uint32_t here = 0;
    for (int i = 0; i < MANY; i++)
        fds[i] = dial_port(victim->network);
    /* All places are taken by who says nothing; who has the key is let in. */
    assert_ok(get_link(friend_, victim->network, NULL, &link));
    segue_agent_call(victim, count, &here);
    if (here > SEGUE_STRANGERS_MAX + 1)
        fail_msg("%u at once", here);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
}

static void data_streams_without_a_secret(void **state)
{
    uint8_t secret[SEGUE_SECRET_BYTES], preamble[SEGUE_PREAMBLE_BYTES];
    for (int i = 0; i < 50; i++) {
        int fd = dial_port(victim->network);
        segue_random_fill(secret, sizeof secret);
        if (i % 2) /* what a lane has that has granted nothing */
            memset(secret, 0, sizeof secret);
        segue_preamble_write(secret, preamble);
        shout(fd, preamble, sizeof preamble);
        is_closed(fd);
    }
}

/* As if it had granted a stream: this secret, in the clear or not. */
struct grant {
    uint8_t secret[SEGUE_SECRET_BYTES];
    bool secure, taken;
};

static struct segue_lane *tcp_lane(struct segue_agent *agent)
{
    size_t row = 0;
    while (strcmp(segue_transport_name(row), "tcp") != 0)
        row++;
    return segue_list_empty(&agent->links)
               ? NULL
               : &segue_container_of(agent->links.next, struct segue_link, list)
                      ->lanes[row];
}

static enum segue_status grant_it(struct segue_agent *agent, void *arg)
{
    struct grant *g = arg;
    struct segue_lane *lane = tcp_lane(agent);
    if (!lane)
        return SEGUE_E_NOT_FOUND;
    lane->granted = true;
    lane->secure = g->secure;
    memcpy(lane->secret, g->secret, sizeof lane->secret);
    return SEGUE_OK;
}

static enum segue_status was_taken(struct segue_agent *agent, void *arg)
{
    struct grant *g = arg;
    struct segue_lane *lane = tcp_lane(agent);
    g->taken = lane && lane->connection;
    return SEGUE_OK;
}

/* Who listens on the wire may know the secret: where TLS was granted it is not enough. */
static void a_stream_in_the_clear(void **state)
{
    struct segue_link *link;
    uint8_t preamble[SEGUE_PREAMBLE_BYTES];
    assert_ok(get_link(friend_, victim->network, NULL, &link));
    for (int secure = 1; secure >= 0; secure--) {
        struct grant grant = {.secure = secure};
        segue_random_fill(grant.secret, sizeof grant.secret);
        segue_preamble_write(grant.secret, preamble);
        assert_ok(segue_agent_call(victim, grant_it, &grant));
        int fd = dial_port(victim->network);
        shout(fd, preamble, sizeof preamble);
        if (secure)
            is_closed(fd);
        for (int i = 0; i < 2000 && !secure && !grant.taken; i++) {
            segue_agent_call(victim, was_taken, &grant);
            usleep(5000);
        }
        segue_agent_call(victim, was_taken, &grant);
        assert_int_equal(grant.taken, !secure); /* a good secret is good for one */
        if (secure)
            continue;
        int again = dial_port(victim->network);
        shout(again, preamble, sizeof preamble);
        is_closed(again);
        close(fd);
    }
}

/* Without a key TCP leads to the unix socket, and there the kernel says who it is. */
static void without_a_key_to_the_unix_socket(void **state)
{
    segue_agent *plain = make_keyed("plain", NULL, "127.0.0.1:0"),
                *guest = make_keyed("guest", NULL, NULL);
    struct segue_link *link;
    assert_ok(get_link(guest, plain->network, plain->incarnation, &link));
    assert_false(link->network);
    assert_int_equal(link->pid, getpid());
    /* A link in the clear, and a key that it does not have. */
    int fd = dial_port(plain->network);
    shout(fd, "SGUL", 4);
    is_closed(fd);
    assert_status(get_link(friend_, plain->network, NULL, &link), SEGUE_E_LOST);
    /* And it goes to no other host. */
    assert_status(get_link(guest, "tcp:192.0.2.1:9000", NULL, &link), SEGUE_E_REFUSED);
    assert_non_null(strstr(segue_error_detail(), "without a cluster key"));
    assert_status(get_link(guest, "tcp:localhost:9000", NULL, &link), SEGUE_E_REFUSED);
    segue_agent_destroy(guest);
    segue_agent_destroy(plain);
}

static void listening_is_refused_without_a_key(void **state)
{
    static const struct {
        const char *listen, *advertise, *want;
        uint32_t insecure;
        bool key;
    } rows[] = {
        {"0.0.0.0:0", NULL, "or say insecure", 0, false},
        {"[::]:0", "10.0.0.1", "or say insecure", 0, false},
        {"192.0.2.1:0", NULL, "or say insecure", 0, false},
        {"0.0.0.0:0", NULL, "option advertise: say which address", 0, true},
        {"0.0.0.0:0", NULL, "option advertise: say which address", 1, false},
        {"127.0.0.1", NULL, "'127.0.0.1' is no address", 0, true},
        {"127.0.0.1:70000", NULL, "is no address", 0, true},
        {"::1:9000", NULL, "is no address", 0, true},
        {NULL, "10.0.0.1", "goes with listen", 0, true},
        {"0.0.0.0:0", "10.0.0.1", NULL, 0, true},
        {"0.0.0.0:0", "10.0.0.1:77", NULL, 1, false},
        {"127.0.0.1:0", NULL, NULL, 0, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct segue_agent_opts opts = quick_opts("listener");
        segue_agent *agent;
        opts.listen = rows[i].listen;
        opts.advertise = rows[i].advertise;
        opts.insecure = rows[i].insecure;
        opts.key = rows[i].key ? key_a : NULL;
        enum segue_status status = segue_agent_create(&opts, &agent);
        if (rows[i].want && (status >= 0 || !strstr(segue_error_detail(), rows[i].want)))
            fail_msg("row %zu: %s", i, status < 0 ? segue_error_detail() : "accepted");
        if (rows[i].want)
            continue;
        assert_ok(status);
        if (rows[i].advertise)
            assert_memory_equal(segue_agent_network(agent), "tcp:10.0.0.1:", 13);
        segue_agent_destroy(agent);
    }
}

/* ---- another user of this host ---- */

/* As nobody: with a key of its own, or none, and the victim's addresses. */
static void be_nobody(const char *folder, const char *key)
{
    struct segue_agent_opts opts = {.size = sizeof opts, .ipc_dir = folder, .key = key};
    struct segue_link *link;
    segue_agent *agent;
    if (setgid(65534) != 0 || setuid(65534) != 0 ||
        segue_agent_create(&opts, &agent) < 0) {
        fprintf(stderr, "nobody: %s\n", segue_error_detail());
        _exit(100);
    }
    bool by_unix = get_link(agent, victim->address, NULL, &link) >= 0;
    bool by_tcp = get_link(agent, victim->network, NULL, &link) >= 0;
    segue_agent_destroy(agent);
    _exit(by_unix | by_tcp << 1);
}

static void another_user(void **state)
{
    char folder[100], key[120], command[2048];
    if (geteuid() != 0)
        skip_because("only root can become another user");
    snprintf(folder, sizeof folder, "%s-nobody", test_folder);
    snprintf(key, sizeof key, "%s/key", folder);
    for (int keyed = 0; keyed < 2; keyed++) {
        snprintf(command, sizeof command,
                 "mkdir %s && cp %s %s && chown -R 65534 %s && chmod 700 %s && chmod 711 "
                 "%s && chmod 777 %s",
                 folder, key_a, key, folder, folder, test_folder, victim->address + 5);
        assert_int_equal(system(command), 0);
        pid_t child = fork();
        if (child == 0)
            be_nobody(folder, keyed ? key : NULL);
        int status;
        waitpid(child, &status, 0);
        snprintf(command, sizeof command, "chmod 700 %s && rm -r %s", test_folder,
                 folder);
        assert_int_equal(system(command), 0);
        assert_true(WIFEXITED(status));
        /* The unix socket is for its own user; the key is for whoever has it. */
        assert_int_equal(WEXITSTATUS(status), keyed ? 2 : 0);
    }
}

static int setup(void **state)
{
    if (make_folder(state) != 0)
        return -1;
    snprintf(key_a, sizeof key_a, "%s/a", test_folder);
    snprintf(key_b, sizeof key_b, "%s/b", test_folder);
    assert_ok(segue_key_file_make(key_a));
    assert_ok(segue_key_file_make(key_b));
    assert_ok(segue_keys_read(key_a, &keys_a));
    assert_ok(segue_keys_read(key_b, &keys_b));
    /* What OpenSSL opens once is not the agent's leak. */
    OPENSSL_init_ssl(0, NULL);
    signal(SIGPIPE,
           SIG_IGN); /* of the attackers, whose OpenSSL writes to closed sockets */
    return 0;
}

static int teardown(void **state)
{
    unlink(key_a);
    unlink(key_b);
    return drop_folder(state);
}

#define ATTACK(test) cmocka_unit_test_setup_teardown(test, fixture_open, fixture_close)
static const struct CMUnitTest tests[] = {
    ATTACK(another_user), /* forks: before there are other threads than its agents' */
    ATTACK(the_true_key_gets_in),
    ATTACK(a_certificate_proves_nothing),
    ATTACK(another_secret_under_our_id),
    ATTACK(wrong_keys_are_named_to_both),
    ATTACK(garbage),
    ATTACK(slow_handshakes),
    ATTACK(floods),
    ATTACK(data_streams_without_a_secret),
    ATTACK(a_stream_in_the_clear),
    ATTACK(without_a_key_to_the_unix_socket),
    cmocka_unit_test(listening_is_refused_without_a_key),
};
TEST_MAIN_AROUND(tests, setup, teardown)
