/* SPDX-License-Identifier: Apache-2.0 */
/* The nginx configuration of `segue route`. */
#include "route.h"

#include <inttypes.h>

/* The body stays in memory up to here; a longer one goes through a file of the private
 * folder. */
#define BODY_BUFFER "1m"
/* Below the 5 s after which engines on uvicorn close an idle connection. */
#define KEEPALIVE                                                                        \
    "    keepalive 256;\n    keepalive_timeout 3s;\n    keepalive_requests 1000000;\n"

static void write_upstream(FILE *out, const char *role,
                           const struct route_engines *engines)
{
    fprintf(out, "  upstream segue_%s {\n    segue_engines %s", role, role);
    if (engines->policy)
        fprintf(out, " policy=%s", engines->policy);
    if (engines->limit)
        fprintf(out, " limit=%d", engines->limit);
    fprintf(out, ";\n");
    for (size_t i = 0; i < engines->host_count; i++)
        fprintf(out, "    server %s;\n", engines->addresses[i]);
    fprintf(out, KEEPALIVE "  }\n");
}

static void write_log_format(FILE *out)
{
    static const struct {
        const char *name, *variable;
        bool number;
    } fields[] = {
        {"time", "$time_iso8601", false},
        {"client", "$remote_addr", false},
        {"request", "$request", false},
        {"status", "$status", true},
        {"bytes", "$body_bytes_sent", true},
        {"seconds", "$request_time", true},
        {"id", "$segue_request_id", false},
        {"mode", "$segue_mode", false},
        {"prefill", "$segue_prefill", false},
        {"prefill_status", "$segue_prefill_status", true},
        {"prefill_ms", "$segue_prefill_ms", true},
        {"prefill_failure", "$segue_prefill_failure", false},
        {"prefills", "$segue_prefills", true},
        {"decode", "$segue_decode", false},
        {"decode_status", "$segue_decode_status", true},
        {"decode_first_ms", "$segue_decode_first_ms", true},
        {"decode_ms", "$segue_decode_ms", true},
        {"decode_failure", "$segue_decode_failure", false},
        {"verdict", "$segue_verdict", false},
        {"again", "$segue_again", false},
        {"client_left", "$segue_client_left", false},
        {"stranded", "$segue_stranded", true},
    };
    fprintf(out, "  log_format segue escape=json '{");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        fprintf(out, "%s%s\"%s\":%s%s%s", i ? "," : "", i ? "'\n    '" : "",
                fields[i].name, fields[i].number ? "" : "\"", fields[i].variable,
                fields[i].number ? "" : "\"");
    fprintf(out, "}';\n");
}

static void write_server(FILE *out, const char *listen)
{
    fprintf(
        out,
        "  server {\n"
        "    listen %s;\n"
        "    error_page 400 404 405 408 411 413 414 494 500 501 502 503 504 "
        "/segue/error;\n"
        "    location = /v1/completions { segue_handoff segue_prefill segue_decode; }\n"
        "    location = /v1/chat/completions { segue_handoff segue_prefill "
        "segue_decode; }\n"
        "    location = /segue/metrics { segue_metrics; access_log off; }\n"
        "    location = /segue/error { internal; segue_error; }\n"
        "    location / { segue_pass segue_decode; }\n"
        "  }\n",
        listen);
}

void route_config(FILE *out, const struct route_options *options, const char *dir,
                  const char *listen, const char *user, const char *access_log)
{
    fprintf(out, "# Made by segue route.\n");
    if (user)
        fprintf(out, "user %s;\n", user);
    fprintf(out,
            "daemon off;\n"
            "worker_processes %d;\n"
            "worker_shutdown_timeout 60s;\n"
            "pid \"%s/nginx.pid\";\n"
            "error_log stderr warn;\n"
            "load_module \"%s\";\n"
            "events { worker_connections 8192; }\n"
            "http {\n"
            "  segue_zone 2m;\n"
            "  segue_runtime_dir \"%s\";\n"
            "  client_body_temp_path \"%s/body\";\n"
            "  proxy_temp_path \"%s/proxy\";\n"
            "  fastcgi_temp_path \"%s/fastcgi\";\n"
            "  uwsgi_temp_path \"%s/uwsgi\";\n"
            "  scgi_temp_path \"%s/scgi\";\n",
            options->workers, dir, options->module, dir, dir, dir, dir, dir, dir);
    fprintf(out,
            "  client_max_body_size %" PRId64 ";\n"
            "  client_body_buffer_size " BODY_BUFFER ";\n"
            "  client_header_buffer_size 20k;\n"
            "  large_client_header_buffers 8 32k;\n"
            "  keepalive_requests 1000000;\n"
            "  underscores_in_headers on;\n"
            "  server_tokens off;\n"
            "  tcp_nodelay on;\n"
            "  segue_connect_timeout %" PRId64 "ms;\n"
            "  segue_prefill_timeout %" PRId64 "ms;\n"
            "  segue_first_byte_timeout %" PRId64 "ms;\n"
            "  segue_idle_timeout %" PRId64 "ms;\n"
            "  segue_total_timeout %" PRId64 "ms;\n",
            options->max_body, options->connect_ms, options->prefill_ms,
            options->first_byte_ms, options->idle_ms, options->total_ms);
    write_log_format(out);
    fprintf(out, "  access_log %s;\n", access_log);
    write_upstream(out, "prefill", &options->prefill);
    write_upstream(out, "decode", &options->decode);
    write_server(out, listen);
    fprintf(out, "}\n");
}
