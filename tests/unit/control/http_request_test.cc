// SPDX-License-Identifier: GPL-2.0-or-later
#include "http_request.h"

#include <gtest/gtest.h>

#include <string>

namespace ctsync::control {
namespace {

// -1: more is to come.
int status_of(const std::string& bytes) {
  const auto request = read_http_request(bytes);
  return request ? request->status : -1;
}

// With what a browser or Prometheus sends.
std::string with_fields(const std::string& line, const std::string& fields = "") {
  return line + "\r\nHost: localhost:9199\r\nUser-Agent: Prometheus/2.42.0\r\n" + fields + "\r\n";
}

TEST(HttpRequest, OfTheMetrics) {
  EXPECT_EQ(status_of(with_fields("GET /metrics HTTP/1.1")), 200);
  EXPECT_EQ(status_of("GET /metrics HTTP/1.0\r\n\r\n"), 200);
  EXPECT_EQ(status_of("GET /metrics HTTP/1.0\n\n"), 200);
  EXPECT_EQ(status_of("GET /metrics?module=x HTTP/1.1\r\n\r\n"), 200);
  EXPECT_EQ(status_of("GET /metrics HTTP/1.1\r\n\r\nwhatever follows"), 200);
  EXPECT_EQ(status_of(with_fields("GET /metrics HTTP/1.1", "X: \xc3\xa9\tb\r\nEmpty:\r\nContent-Length: 0\r\n")), 200);
}

TEST(HttpRequest, OfSomethingElse) {
  for (const char* target : {"/", "/metric", "/metrics/", "/metricsx", "/METRICS", "/%6detrics", "/../metrics"}) {
    EXPECT_EQ(status_of(with_fields(std::string("GET ") + target + " HTTP/1.1")), 404) << target;
  }
  EXPECT_EQ(status_of(with_fields("POST / HTTP/1.1", "Content-Length: 5\r\n")), 404);
  for (const char* method : {"POST", "HEAD", "PUT", "DELETE", "OPTIONS", "get", "G"}) {
    EXPECT_EQ(status_of(with_fields(std::string(method) + " /metrics HTTP/1.1", "Content-Length: 5\r\n")), 405)
        << method;
  }
}

TEST(HttpRequest, ThatIsNone) {
  for (const char* line : {"",
                           "GET",
                           "GET ",
                           "GET /metrics",
                           "GET /metrics ",
                           "GET  /metrics HTTP/1.1",
                           "GET /metrics  HTTP/1.1",
                           "GET /met rics HTTP/1.1",
                           "GET metrics HTTP/1.1",
                           "GET http://h/metrics HTTP/1.1",
                           "GET * HTTP/1.1",
                           " GET /metrics HTTP/1.1",
                           "GET /metrics HTTP/2.0",
                           "GET /metrics HTTP/1.10",
                           "GET /metrics http/1.1",
                           "GET /metrics\tHTTP/1.1",
                           "GET /m\x01 HTTP/1.1",
                           "GET /m\xff HTTP/1.1",
                           "G(T /metrics HTTP/1.1",
                           "\x16\x03\x01\x02",
                           "GET /metrics HTTP/1.1\rHost: x"}) {
    EXPECT_EQ(status_of(std::string(line) + "\r\n\r\n"), 400) << line;
  }
  for (const char* field : {"no colon", ": x", "a b: x", "a : x", " folded", "a: \x01", "a: \x7f", "b: \r"}) {
    EXPECT_EQ(status_of(with_fields("GET /metrics HTTP/1.1", std::string(field) + "\r\n")), 400) << field;
  }
  EXPECT_EQ(status_of(std::string("GET /metrics HTTP/1.1\r\na: \0\r\n\r\n", 31)), 400);
  EXPECT_EQ(status_of(with_fields("GET /metrics HTTP/1.1", "content-LENGTH: 5\r\n")), 400);
  EXPECT_EQ(status_of(with_fields("GET /metrics HTTP/1.1", "Transfer-Encoding: chunked\r\n")), 400);
}

TEST(HttpRequest, InPieces) {
  const auto whole = with_fields("GET /metrics HTTP/1.1");
  for (std::size_t i = 0; i < whole.size(); ++i) EXPECT_EQ(status_of(whole.substr(0, i)), -1) << i;
  EXPECT_EQ(status_of(whole), 200);
}

TEST(HttpRequest, ThatIsTooLong) {
  const std::string begin = "GET /metrics HTTP/1.1\r\na: ";
  const auto request = [&](std::size_t size) { return begin + std::string(size - begin.size() - 4, 'x') + "\r\n\r\n"; };
  EXPECT_EQ(status_of(request(kMaxHttpRequest)), 200);
  EXPECT_EQ(status_of(request(kMaxHttpRequest + 1)), 400);
  EXPECT_EQ(status_of(request(100 * kMaxHttpRequest)), 400);
  EXPECT_EQ(status_of(std::string(kMaxHttpRequest - 1, 'x')), -1);
  EXPECT_EQ(status_of(std::string(kMaxHttpRequest, 'x')), 400);
}

TEST(HttpRequest, SaysWhichFormatItTakes) {
  const auto takes = [](const std::string& field) {
    return read_http_request(with_fields("GET /metrics HTTP/1.1", field))->openmetrics;
  };
  EXPECT_TRUE(takes("Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n"));
  EXPECT_TRUE(takes("aCCEPT:text/plain, Application/OpenMetrics-Text\r\n"));
  EXPECT_TRUE(takes("Accept: */*\r\nAccept: application/openmetrics-text\r\n"));
  EXPECT_FALSE(takes("Accept: text/plain;version=0.0.4\r\n"));
  EXPECT_FALSE(takes("Accept: */*\r\n"));
  EXPECT_FALSE(takes("X-Accept: application/openmetrics-text\r\n"));
  EXPECT_FALSE(takes(""));
}

}  // namespace
}  // namespace ctsync::control
