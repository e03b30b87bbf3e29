//go:build !go1.24

package main

import (
	"net/http"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

// limitedServer accepts at most limit streams on a TCP connection; 0 means its default.
func limitedServer(handler http.Handler, limit int) *http.Server {
	server := &http2.Server{MaxConcurrentStreams: uint32(limit)}
	return &http.Server{Handler: h2c.NewHandler(handler, server)}
}
