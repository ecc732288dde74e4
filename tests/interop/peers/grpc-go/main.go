// Command grpc-go is a server and a client of gRPC's own interoperability service with grpc-go and its default options.
//
//	grpc-go serve                       prints {"port": N}, ends with its input
//	grpc-go suite PORT CASE...          prints {"case": NAME} after each; the first failure ends it
//	grpc-go load PORT KIND CALLS SECONDS at full speed until both are reached; prints {"load": {...}}. KIND: one (a call after the
//	                                    other), all (every kind of call, many at once)
//	grpc-go quiet PORT SECONDS          one connection with keepalive and pauses; prints {"quiet": {...}}
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "google.golang.org/grpc/interop/grpc_testing"
)

func say(name string, value any) {
	line, err := json.Marshal(map[string]any{name: value})
	must(err)
	fmt.Println(string(line))
}

func must(err error) {
	if err != nil {
		fmt.Println("FAILED:", err)
		os.Exit(1)
	}
}

func check(right bool, what string, got ...any) {
	if !right {
		must(fmt.Errorf("%s: %v", what, got))
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	must(err)
	return n
}

// notes tells on standard output which calls the server saw cancelled.
type notes struct{ pb.TestServiceServer }

func (n notes) FullDuplexCall(stream pb.TestService_FullDuplexCallServer) error {
	err := n.TestServiceServer.FullDuplexCall(stream)
	if stream.Context().Err() != nil {
		say("cancelled", "full_duplex")
	}
	return err
}

func (n notes) StreamingInputCall(stream pb.TestService_StreamingInputCallServer) error {
	err := n.TestServiceServer.StreamingInputCall(stream)
	if stream.Context().Err() != nil {
		say("cancelled", "streaming_input")
	}
	return err
}

func serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	server := grpc.NewServer()
	pb.RegisterTestServiceServer(server, notes{interop.NewTestServer()})
	say("port", listener.Addr().(*net.TCPAddr).Port)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	must(server.Serve(listener))
}

func dial(port string, options ...grpc.DialOption) *grpc.ClientConn {
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	connection, err := grpc.NewClient("127.0.0.1:"+port, options...)
	must(err)
	return connection
}

// deadlines checks a call that has none, one that passes, and that the server's view of one is the client's.
func deadlines(ctx context.Context, client pb.TestServiceClient) {
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	stream, err := client.FullDuplexCall(short)
	must(err)
	begin := time.Now()
	_, err = stream.Recv()
	check(status.Code(err) == codes.DeadlineExceeded, "a stream without answers", err)
	check(time.Since(begin) < 10*time.Second, "the deadline comes late", time.Since(begin))
	long, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err = client.EmptyCall(long, &pb.Empty{})
	must(err)
}

// fields checks metadata that is large, binary and repeated, in both directions.
func fields(ctx context.Context, client pb.TestServiceClient) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "x-grpc-test-echo-initial", string(bytes.Repeat([]byte("v"), 4000)),
		"x-grpc-test-echo-trailing-bin", string(all), "other", "1", "other", "2")
	var header, trailer metadata.MD
	_, err := client.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: 1}, grpc.Header(&header), grpc.Trailer(&trailer))
	must(err)
	got := header.Get("x-grpc-test-echo-initial")
	check(len(got) == 1 && len(got[0]) == 4000, "the header", len(got))
	bin := trailer.Get("x-grpc-test-echo-trailing-bin")
	check(len(bin) == 1 && bin[0] == string(all), "the binary trailer", bin)
}

// failures checks every status code, after no message and after one.
func failures(ctx context.Context, client pb.TestServiceClient) {
	for code := int32(1); code <= 16; code++ {
		wanted := &pb.EchoStatus{Code: code, Message: fmt.Sprintf("50%% schön %d", code)}
		_, err := client.UnaryCall(ctx, &pb.SimpleRequest{ResponseStatus: wanted})
		got := status.Convert(err)
		check(int32(got.Code()) == code && got.Message() == wanted.Message, "status of a call", err)
		stream, err := client.FullDuplexCall(ctx)
		must(err)
		must(stream.Send(&pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 10}}}))
		_, err = stream.Recv()
		must(err)
		must(stream.Send(&pb.StreamingOutputCallRequest{ResponseStatus: wanted}))
		_, err = stream.Recv()
		got = status.Convert(err)
		check(int32(got.Code()) == code && got.Message() == wanted.Message, "status of a stream", err)
	}
}

// large sends and gets bodies that need many windows, many at once.
func large(ctx context.Context, client pb.TestServiceClient) {
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			size := 3<<20 + i
			got, err := client.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: int32(size), Payload: &pb.Payload{Body: make([]byte, size)}})
			must(err)
			check(len(got.Payload.Body) == size, "size of the answer", len(got.Payload.Body))
		})
	}
	group.Wait()
}

func suite(port string, names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	connection := dial(port)
	defer connection.Close()
	client := pb.NewTestServiceClient(connection)
	cases := map[string]func(context.Context, pb.TestServiceClient){
		"deadlines": deadlines, "fields": fields, "failures": failures, "large": large,
		"empty_unary":                 func(c context.Context, t pb.TestServiceClient) { interop.DoEmptyUnaryCall(c, t) },
		"large_unary":                 func(c context.Context, t pb.TestServiceClient) { interop.DoLargeUnaryCall(c, t) },
		"client_streaming":            func(c context.Context, t pb.TestServiceClient) { interop.DoClientStreaming(c, t) },
		"server_streaming":            func(c context.Context, t pb.TestServiceClient) { interop.DoServerStreaming(c, t) },
		"ping_pong":                   func(c context.Context, t pb.TestServiceClient) { interop.DoPingPong(c, t) },
		"empty_stream":                func(c context.Context, t pb.TestServiceClient) { interop.DoEmptyStream(c, t) },
		"timeout_on_sleeping_server":  func(c context.Context, t pb.TestServiceClient) { interop.DoTimeoutOnSleepingServer(c, t) },
		"cancel_after_begin":          func(c context.Context, t pb.TestServiceClient) { interop.DoCancelAfterBegin(c, t) },
		"cancel_after_first_response": func(c context.Context, t pb.TestServiceClient) { interop.DoCancelAfterFirstResponse(c, t) },
		"custom_metadata":             func(c context.Context, t pb.TestServiceClient) { interop.DoCustomMetadata(c, t) },
		"status_code_and_message":     func(c context.Context, t pb.TestServiceClient) { interop.DoStatusCodeAndMessage(c, t) },
		"special_status_message":      func(c context.Context, t pb.TestServiceClient) { interop.DoSpecialStatusMessage(c, t) },
		"unimplemented_method":        func(c context.Context, _ pb.TestServiceClient) { interop.DoUnimplementedMethod(c, connection) },
		"unimplemented_service": func(c context.Context, _ pb.TestServiceClient) {
			interop.DoUnimplementedService(c, pb.NewUnimplementedServiceClient(connection))
		},
	}
	for _, name := range names {
		run, known := cases[name]
		check(known, "no such case", name)
		run(ctx, client)
		say("case", name)
	}
}

// tally counts calls, and failures by what they say.
type tally struct {
	calls, messages atomic.Int64
	mutex           sync.Mutex
	errors          map[string]int
}

func (t *tally) failed(kind string, err error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.errors[kind+": "+err.Error()]++
	time.Sleep(10 * time.Millisecond) // a broken connection is no reason to spin
}

func (t *tally) summary(begin time.Time) map[string]any {
	return map[string]any{"calls": t.calls.Load(), "messages": t.messages.Load(), "seconds": time.Since(begin).Seconds(), "errors": t.errors}
}

func unary(ctx context.Context, client pb.TestServiceClient, size int) error {
	got, err := client.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: int32(size), Payload: &pb.Payload{Body: make([]byte, size)}})
	if err == nil && len(got.Payload.Body) != size {
		return fmt.Errorf("%d bytes instead of %d", len(got.Payload.Body), size)
	}
	return err
}

// chat asks 50 times over one stream, each question after the answer to the one before.
func chat(ctx context.Context, client pb.TestServiceClient, t *tally) error {
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	for range 50 {
		if err := stream.Send(&pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 100}}}); err != nil {
			return err
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
		t.messages.Add(1)
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); err != io.EOF {
		return fmt.Errorf("the end of a stream: %v", err)
	}
	return nil
}

// feed gets 100 messages of a server that sends as fast as it can.
func feed(ctx context.Context, client pb.TestServiceClient, t *tally) error {
	request := &pb.StreamingOutputCallRequest{}
	for range 100 {
		request.ResponseParameters = append(request.ResponseParameters, &pb.ResponseParameters{Size: 2000})
	}
	stream, err := client.StreamingOutputCall(ctx, request)
	if err != nil {
		return err
	}
	for got := 0; ; got++ {
		if _, err := stream.Recv(); err == io.EOF && got == 100 {
			return nil
		} else if err != nil {
			return fmt.Errorf("after %d messages: %w", got, err)
		}
		t.messages.Add(1)
	}
}

// gather sends 100 messages as fast as it can.
func gather(ctx context.Context, client pb.TestServiceClient, t *tally) error {
	stream, err := client.StreamingInputCall(ctx)
	if err != nil {
		return err
	}
	for range 100 {
		if err := stream.Send(&pb.StreamingInputCallRequest{Payload: &pb.Payload{Body: make([]byte, 2000)}}); err != nil {
			return err
		}
		t.messages.Add(1)
	}
	got, err := stream.CloseAndRecv()
	if err == nil && got.AggregatedPayloadSize != 200000 {
		return fmt.Errorf("%d bytes arrived", got.AggregatedPayloadSize)
	}
	return err
}

func load(port, kind string, calls, seconds int) {
	connection := dial(port)
	defer connection.Close()
	client := pb.NewTestServiceClient(connection)
	ctx := context.Background()
	t := &tally{errors: map[string]int{}}
	begin := time.Now()
	most := begin.Add(100 * time.Second)
	enough := func() bool {
		now := time.Now()
		return now.After(most) || (t.calls.Load() >= int64(calls) && now.Sub(begin) >= time.Duration(seconds)*time.Second)
	}
	var group sync.WaitGroup
	worker := func(kind string, call func() error) {
		group.Go(func() {
			for !enough() {
				if err := call(); err != nil {
					t.failed(kind, err)
				}
				t.calls.Add(1)
			}
		})
	}
	if kind == "one" {
		worker("unary", func() error { return unary(ctx, client, 100) })
		group.Wait()
		say("load", t.summary(begin))
		return
	}
	for i := range 8 {
		worker("unary", func() error { return unary(ctx, client, 10+i*20) })
	}
	worker("chat", func() error { return chat(ctx, client, t) })
	worker("server stream", func() error { return feed(ctx, client, t) })
	worker("client stream", func() error { return gather(ctx, client, t) })
	group.Wait()
	say("load", t.summary(begin))
}

// quiet keeps a connection by pings alone: a stream on which nothing moves, then none at all.
func quiet(port string, seconds int) {
	connection := dial(port, grpc.WithKeepaliveParams(keepalive.ClientParameters{
		Time: 10 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}), grpc.WithIdleTimeout(0))
	defer connection.Close()
	client := pb.NewTestServiceClient(connection)
	ctx := context.Background()
	stream, err := client.FullDuplexCall(ctx)
	must(err)
	ask := func() {
		must(stream.Send(&pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 1}}}))
		_, err := stream.Recv()
		must(err)
	}
	ask()
	time.Sleep(time.Duration(seconds) * time.Second / 2)
	ask()
	must(stream.CloseSend())
	_, err = stream.Recv()
	check(err == io.EOF, "the end", err)
	time.Sleep(time.Duration(seconds) * time.Second / 2)
	must(unary(ctx, client, 1))
	say("quiet", "ok")
}

func main() {
	switch arguments := os.Args[2:]; os.Args[1] {
	case "serve":
		serve()
	case "suite":
		suite(arguments[0], arguments[1:])
	case "load":
		load(arguments[0], arguments[1], number(arguments[2]), number(arguments[3]))
	case "quiet":
		quiet(arguments[0], number(arguments[1]))
	}
}
