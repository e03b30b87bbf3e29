//go:build go1.24

package main

import "net/http"

// cleartextClient speaks HTTP/2 with prior knowledge.
func cleartextClient() *http.Client {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: &protocols}}
}

// cleartextServer accepts HTTP/2 with prior knowledge.
func cleartextServer(handler http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{Handler: handler, Protocols: &protocols}
}
