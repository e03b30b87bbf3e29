package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

// crowd echoes on any number of connections until its input ends. A TCP connection carries at most
// limit of them at once; 0 means the default of net/http.
func crowd(limit int) error {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, err := Accept(w, r, http.StatusOK); err == nil {
			io.Copy(conn, conn)
		}
	})
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go limitedServer(handler, limit).Serve(tcp)
	fmt.Printf("listening on http://%s/\n", tcp.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
