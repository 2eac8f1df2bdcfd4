/* What applying migrations costs at the least: everything in one pipeline with one Sync, each migration and its row
 * in the ledger in a transaction of its own. It parses nothing, checks nothing and holds no lock.
 *
 *     floor STATEMENTS
 *
 * connects as libpq's environment says. STATEMENTS is a sequence of records: a length (32 bits, little-endian) and so
 * many bytes of SQL, one statement each. A length of 0 ends a migration. See benchmarks/floor.py, which writes it.
 * Ends with 0 once all is committed, with 1 after an error; then everything before the failed migration is committed.
 */
#include <libpq-fe.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* How much is sent between two looks at what has come back. */
#define STEP (64 * 1024)

static PGconn *connection;
static long outstanding;
static int is_synchronised;

static void fail(const char *what, const char *detail)
{
    fprintf(stderr, "floor: %s: %s", what, detail);
    exit(1);
}

/* Take the results that are there. */
static void take_results(void)
{
    while (outstanding > 0 && !PQisBusy(connection)) {
        PGresult *result = PQgetResult(connection);
        ExecStatusType status;

        if (result == NULL) { /* between two statements */
            outstanding--;
            continue;
        }
        status = PQresultStatus(result);
        if (status == PGRES_PIPELINE_SYNC) {
            outstanding--;
            is_synchronised = 1;
        } else if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
            fail("a statement failed", PQresultErrorMessage(result));
        }
        PQclear(result);
    }
}

/* Wait until the server takes or gives something; never for only one of both, or both sides might wait. */
static void exchange(int wants_to_send)
{
    struct pollfd socket = {PQsocket(connection), (short)(POLLIN | (wants_to_send ? POLLOUT : 0)), 0};

    poll(&socket, 1, -1);
    if ((socket.revents & ~POLLOUT) && !PQconsumeInput(connection))
        fail("the connection is lost", PQerrorMessage(connection));
    take_results();
}

static void flush(void)
{
    int left;

    while ((left = PQflush(connection)) == 1)
        exchange(1);
    if (left < 0)
        fail("the connection is lost", PQerrorMessage(connection));
    if (!PQconsumeInput(connection))
        fail("the connection is lost", PQerrorMessage(connection));
    take_results();
}

static void send(const char *sql)
{
    if (!PQsendQueryParams(connection, sql, 0, NULL, NULL, NULL, NULL, 0))
        fail("cannot send", PQerrorMessage(connection));
    outstanding++;
}

static int read_length(FILE *file, uint32_t *length)
{
    unsigned char bytes[4];

    if (fread(bytes, 1, 4, file) != 4)
        return 0;
    *length = bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    return 1;
}

int main(int count, char **arguments)
{
    FILE *file = count == 2 ? fopen(arguments[1], "rb") : NULL;
    char *sql = NULL, row[128];
    size_t unsent = 0;
    uint32_t length, room = 0;
    long version = 0;
    int is_open = 0;
    PGresult *result;

    if (file == NULL)
        fail("cannot read", "give one file\n");
    connection = PQconnectdb("");
    if (PQstatus(connection) != CONNECTION_OK)
        fail("cannot connect", PQerrorMessage(connection));
    /* The one question that nobody can do without: what is applied already? */
    result = PQexec(connection,
        "SET client_min_messages = warning;"
        "CREATE TABLE IF NOT EXISTS floor_ledger (version bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());"
        "SELECT version FROM floor_ledger");
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        fail("cannot read the ledger", PQerrorMessage(connection));
    if (PQntuples(result) > 0)
        fail("not an empty database", "\n");
    PQclear(result);

    PQsetnonblocking(connection, 1);
    PQenterPipelineMode(connection);
    while (read_length(file, &length)) {
        if (!is_open)
            send("BEGIN");
        is_open = length > 0;
        if (is_open) {
            if (length >= room) {
                room = length + 1;
                sql = realloc(sql, room);
                if (sql == NULL)
                    fail("no memory", "\n");
            }
            if (fread(sql, 1, length, file) != length)
                fail("cannot read", "the file ends within a statement\n");
            sql[length] = '\0';
            send(sql);
        } else {
            snprintf(row, sizeof row, "INSERT INTO floor_ledger (version) VALUES (%ld)", ++version);
            send(row);
            send("COMMIT");
        }
        unsent += length + 64;
        if (unsent >= STEP) {
            flush();
            unsent = 0;
        }
    }
    if (!PQpipelineSync(connection))
        fail("cannot send", PQerrorMessage(connection));
    outstanding++;
    flush();
    while (!is_synchronised)
        exchange(0);
    PQfinish(connection);
    free(sql);
    fclose(file);
    return 0;
}
