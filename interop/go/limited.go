//go:build go1.24

package main

import "net/http"

// limitedServer accepts at most limit streams on a TCP connection; 0 means its default.
func limitedServer(handler http.Handler, limit int) *http.Server {
	server := cleartextServer(handler)
	server.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: limit}
	return server
}
