// Command go-grpc is the other end of the tests in ../tests/interop.rs: the cases of grpc-go's own
// package interop, as a client, and its test service, as a server.
//
//	go-grpc client ADDRESS [CERTIFICATE]
//	go-grpc server [CERTIFICATE KEY]
//
// The client says each case that passed, and fails at the first that does not. The server says its
// port.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("expected: client or server")
	}
	switch os.Args[1] {
	case "client":
		client(os.Args[2], os.Args[3:])
	case "server":
		server(os.Args[2:])
	default:
		log.Fatalf("%q is neither client nor server", os.Args[1])
	}
}

func client(address string, certificate []string) {
	security := insecure.NewCredentials()
	if len(certificate) > 0 {
		trusted, err := credentials.NewClientTLSFromFile(certificate[0], "localhost")
		if err != nil {
			log.Fatal(err)
		}
		security = trusted
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(security))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	ctx := context.Background()
	tests := testgrpc.NewTestServiceClient(conn)
	absent := testgrpc.NewUnimplementedServiceClient(conn)
	for _, c := range []struct {
		name string
		run  func()
	}{
		{"empty_unary", func() { interop.DoEmptyUnaryCall(ctx, tests) }},
		{"large_unary", func() { interop.DoLargeUnaryCall(ctx, tests) }},
		{"client_streaming", func() { interop.DoClientStreaming(ctx, tests) }},
		{"server_streaming", func() { interop.DoServerStreaming(ctx, tests) }},
		{"ping_pong", func() { interop.DoPingPong(ctx, tests) }},
		{"empty_stream", func() { interop.DoEmptyStream(ctx, tests) }},
		{"timeout_on_sleeping_server", func() { interop.DoTimeoutOnSleepingServer(ctx, tests) }},
		{"cancel_after_begin", func() { interop.DoCancelAfterBegin(ctx, tests) }},
		{"cancel_after_first_response", func() { interop.DoCancelAfterFirstResponse(ctx, tests) }},
		{"status_code_and_message", func() { interop.DoStatusCodeAndMessage(ctx, tests) }},
		{"special_status_message", func() { interop.DoSpecialStatusMessage(ctx, tests) }},
		{"custom_metadata", func() { interop.DoCustomMetadata(ctx, tests) }},
		{"unimplemented_method", func() { interop.DoUnimplementedMethod(ctx, conn) }},
		{"unimplemented_service", func() { interop.DoUnimplementedService(ctx, absent) }},
	} {
		// Each of these ends the program if it fails.
		c.run()
		fmt.Println(c.name)
	}
}

func server(files []string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	var options []grpc.ServerOption
	if len(files) > 0 {
		own, err := credentials.NewServerTLSFromFile(files[0], files[1])
		if err != nil {
			log.Fatal(err)
		}
		options = append(options, grpc.Creds(own))
	}
	server := grpc.NewServer(options...)
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(server.Serve(listener))
}
