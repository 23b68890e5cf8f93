#include "base/human.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t length(int n)
{
    return (size_t)n; /* snprintf into HUMAN_BYTES, which holds every form here */
}

/* ---- sizes and counts ---- */

size_t human_bytes(uint64_t bytes, char out[HUMAN_BYTES])
{
    static const char *const units[] = {"KB", "MB", "GB", "TB"};
    if (bytes < 1000)
        return length(snprintf(out, HUMAN_BYTES, "%" PRIu64 " B", bytes));
    size_t unit = 0;
    double size = 1e3;
    while (unit + 1 < sizeof units / sizeof units[0] && (double)bytes >= size * 1e3) {
        size *= 1e3;
        unit++;
    }
    const double x = (double)bytes / size;
    const bool whole = x >= 10 || x == trunc(x);
    return length(snprintf(out, HUMAN_BYTES, whole ? "%.0f %s" : "%.1f %s", whole ? trunc(x) : x,
                           units[unit]));
}

size_t human_number(uint64_t n, char out[HUMAN_BYTES])
{
    const double x = (double)n;
    if (n >= 1000000000)
        return length(snprintf(out, HUMAN_BYTES, n % 1000000000 ? "%.1fB" : "%.0fB", x / 1e9));
    if (n >= 1000000)
        return length(snprintf(out, HUMAN_BYTES, n % 1000000 ? "%.2fM" : "%.0fM", x / 1e6));
    if (n >= 1000)
        return length(snprintf(out, HUMAN_BYTES, "%.0fK", x / 1e3));
    return length(snprintf(out, HUMAN_BYTES, "%" PRIu64, n));
}

/* ---- times ---- */

#define HOURS_OF_YEAR (24 * 365)
#define FOREVER_YEARS 20

size_t human_duration(int64_t ms, char out[HUMAN_BYTES])
{
    const int64_t seconds = ms / 1000;
    const int64_t minutes = seconds / 60;
    const int64_t hours =
        ms / 3600000 + (ms % 3600000 >= 1800000); /* rounded; the others are cut */
    if (seconds < 1)
        return length(snprintf(out, HUMAN_BYTES, "Less than a second"));
    if (seconds < 60)
        return length(
            snprintf(out, HUMAN_BYTES, "%" PRId64 " second%s", seconds, seconds == 1 ? "" : "s"));
    if (minutes == 1)
        return length(snprintf(out, HUMAN_BYTES, "About a minute"));
    if (minutes < 60)
        return length(snprintf(out, HUMAN_BYTES, "%" PRId64 " minutes", minutes));
    if (hours == 1)
        return length(snprintf(out, HUMAN_BYTES, "About an hour"));
    if (hours < 48)
        return length(snprintf(out, HUMAN_BYTES, "%" PRId64 " hours", hours));
    if (hours < 24 * 7 * 2)
        return length(snprintf(out, HUMAN_BYTES, "%" PRId64 " days", hours / 24));
    if (hours < 24 * 30 * 2)
        return length(snprintf(out, HUMAN_BYTES, "%" PRId64 " weeks", hours / 24 / 7));
    if (hours < HOURS_OF_YEAR * 2)
        return length(snprintf(out, HUMAN_BYTES, "%" PRId64 " months", hours / 24 / 30));
    return length(snprintf(out, HUMAN_BYTES, "%" PRId64 " years", ms / 3600000 / HOURS_OF_YEAR));
}

size_t human_time(int64_t ms, char out[HUMAN_BYTES])
{
    if (ms / 3600000 / HOURS_OF_YEAR > FOREVER_YEARS)
        return length(snprintf(out, HUMAN_BYTES, "Forever"));
    const int64_t positive = ms < 0 ? (ms == INT64_MIN ? INT64_MAX : -ms) : ms;
    const size_t n = human_duration(positive, out);
    return n + length(snprintf(out + n, HUMAN_BYTES - n, ms > 0 ? " from now" : " ago"));
}

/* ---- reading a time ---- */

/* n digits of *at; -1: there are fewer. */
static int take_digits(const char **at, int n)
{
    int value = 0;
    for (int i = 0; i < n; i++) {
        const char c = (*at)[i];
        if (c < '0' || c > '9')
            return -1;
        value = value * 10 + (c - '0');
    }
    *at += n;
    return value;
}

static bool take(const char **at, char c)
{
    if (**at != c)
        return false;
    ++*at;
    return true;
}

/* "+09:00", "-03:30" or "Z" in minutes. */
static bool take_zone(const char **at, int *out_minutes)
{
    *out_minutes = 0;
    if (take(at, 'Z') || take(at, 'z'))
        return true;
    const int sign = **at == '-' ? -1 : 1;
    if (!take(at, '+') && !take(at, '-'))
        return false;
    const int hours = take_digits(at, 2);
    if (hours < 0 || !take(at, ':'))
        return false;
    const int minutes = take_digits(at, 2);
    *out_minutes = sign * (hours * 60 + minutes);
    return minutes >= 0;
}

/* The first three digits behind the point; the rest is finer than what is kept. */
static bool take_fraction(const char **at, int *out_ms)
{
    int weight = 100;
    *out_ms = 0;
    if (!take(at, '.'))
        return true;
    const char *const from = *at;
    for (; **at >= '0' && **at <= '9'; ++*at) {
        *out_ms += (**at - '0') * weight;
        weight /= 10;
    }
    return *at > from;
}

/* Days since 1970 of a date in the Gregorian calendar, years from 0 on. A year begins in March, so
 * that the day that is not always there is its last. */
static int64_t days_of(int year, int month, int day)
{
    const int64_t y = month <= 2 ? year - 1 : year;
    const int64_t era = (y >= 0 ? y : y - 399) / 400;
    const int64_t year_of_era = y - era * 400;
    const int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

bool human_parse_time(const char *text, int64_t *out_ms)
{
    static const char between[] = "--T::";
    static const int n_digits[] = {4, 2, 2, 2, 2, 2};
    int part[6]; /* year, month, day, hour, minute, second */
    const char *at = text;
    for (int i = 0; i < 6; i++) {
        part[i] = take_digits(&at, n_digits[i]);
        if (part[i] < 0 || (i < 5 && !take(&at, between[i])))
            return false;
    }
    int ms;
    int zone;
    if (!take_fraction(&at, &ms) || !take_zone(&at, &zone) || *at)
        return false;
    if (part[1] < 1 || part[1] > 12 || part[2] < 1 || part[2] > 31 || part[3] > 23 ||
        part[4] > 59 || part[5] > 60)
        return false;
    const int64_t minutes = (days_of(part[0], part[1], part[2]) * 24 + part[3]) * 60 + part[4];
    *out_ms = ((minutes - zone) * 60 + part[5]) * 1000 + ms;
    return true;
}

/* ---- numbers ---- */

/* The fewest digits that read back as x: their count, and the exponent of the first. */
static int shortest_digits(double x, char digits[24], int *out_exponent)
{
    char text[40];
    for (int n = 1;; n++) {
        (void)snprintf(text, sizeof text, "%.*e", n - 1, x);
        if (n == 17 || strtod(text, NULL) == x)
            break;
    }
    const char *e = strchr(text, 'e');
    int n = 0;
    for (const char *c = text; c < e; c++) {
        if (*c >= '0' && *c <= '9')
            digits[n++] = *c;
    }
    digits[n] = '\0';
    *out_exponent = atoi(e + 1);
    return n;
}

size_t human_float(double x, char out[HUMAN_BYTES])
{
    if (isnan(x))
        return length(snprintf(out, HUMAN_BYTES, "NaN"));
    if (isinf(x))
        return length(snprintf(out, HUMAN_BYTES, x > 0 ? "+Inf" : "-Inf"));
    char digits[24];
    int exponent;
    const char *sign = signbit(x) ? "-" : "";
    const int n = shortest_digits(fabs(x), digits, &exponent);
    /* As the mantissa's digits do not matter to Go either, six is where the exponent begins. */
    if (exponent < -4 || exponent >= 6)
        return length(snprintf(out, HUMAN_BYTES, "%s%c%s%se%+03d", sign, digits[0],
                               n > 1 ? "." : "", digits + 1, exponent));
    if (exponent < 0)
        return length(
            snprintf(out, HUMAN_BYTES, "%s0.%.*s%s", sign, -exponent - 1, "0000", digits));
    const int n_whole = exponent + 1;
    if (n > n_whole)
        return length(
            snprintf(out, HUMAN_BYTES, "%s%.*s.%s", sign, n_whole, digits, digits + n_whole));
    return length(snprintf(out, HUMAN_BYTES, "%s%s%.*s", sign, digits, n_whole - n, "000000"));
}
