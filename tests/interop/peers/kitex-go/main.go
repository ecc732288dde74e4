// Command kitex-go is both ends of a small service with Kitex, by its generic calls, so that nothing is generated. Its argument is JSON:
// transport (buffered, framed, ttheader, ttheader_framed: Thrift in binary; grpc: bytes), mux (several calls on one connection), serve
// (a port) or port. A client takes the commands call(method, text), load(calls, threads) and chat(count).
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bytedance/gopkg/cloud/metainfo"
	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/client/genericclient"
	"github.com/cloudwego/kitex/pkg/generic"
	"github.com/cloudwego/kitex/pkg/kerrors"
	"github.com/cloudwego/kitex/pkg/klog"
	"github.com/cloudwego/kitex/pkg/remote"
	"github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/codes"
	"github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/status"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/transmeta"
	"github.com/cloudwego/kitex/server"
	"github.com/cloudwego/kitex/server/genericserver"
	"github.com/cloudwego/kitex/transport"
)

const idl = `
namespace go acme
struct Text { 1: string text }
exception Failed { 1: string why }
service Test {
  Text echo(1: Text text)
  Text fail(1: Text text) throws (1: Failed failed)
  Text broken(1: Text text)
  Text refuse(1: Text text)
  Text pause(1: Text text)
  Text note(1: Text text)
  Text noted(1: Text text)
}`

// What a server that knows less than its client has.
const older = `
namespace go acme
struct Text { 1: string text }
service Test { Text echo(1: Text text) }`

var config struct {
	Transport   string
	Mux, Older  bool
	Serve, Port int
}

var output sync.Mutex

func say(object map[string]any) {
	line, err := json.Marshal(object)
	must(err)
	output.Lock()
	defer output.Unlock()
	fmt.Println(string(line))
}

func must(err error) {
	if err != nil {
		fmt.Println("FAILED:", err)
		os.Exit(1)
	}
}

func codec() generic.Generic {
	if config.Transport == "grpc" {
		return generic.BinaryPbGeneric("Test", "acme")
	}
	content := idl
	if config.Older {
		content = older
	}
	provider, err := generic.NewThriftContentProvider(content, nil)
	must(err)
	thrift, err := generic.JSONThriftGeneric(provider)
	must(err)
	return thrift
}

type text struct {
	Text string `json:"text"`
}

func pack(value string) string {
	packed, err := json.Marshal(text{value})
	must(err)
	return string(packed)
}

func unpack(value any) string {
	var t text
	if packed, is := value.(string); is {
		must(json.Unmarshal([]byte(packed), &t))
	}
	return t.Text
}

var notes = struct {
	sync.Mutex
	texts []string
}{texts: []string{}}

func handle(ctx context.Context, _, method string, request any) (any, error) {
	asked := unpack(request)
	switch method {
	case "echo":
		return request, nil
	case "fail", "broken":
		return nil, errors.New("broken")
	case "refuse":
		return nil, kerrors.NewBizStatusErrorWithExtra(4200, "not today", map[string]string{"reason": asked})
	case "pause":
		time.Sleep(time.Second)
		return request, nil
	case "note":
		notes.Lock()
		defer notes.Unlock()
		notes.texts = append(notes.texts, asked)
		return request, nil
	default:
		notes.Lock()
		defer notes.Unlock()
		seen, _ := metainfo.GetPersistentValue(ctx, "color")
		return pack(strings.Join(notes.texts, ",") + ";" + seen), nil
	}
}

// chats serves every call of gRPC, because without a description Kitex takes all of them for streams of both directions.
func chats(ctx context.Context, _, method string, stream generic.BidiStreamingServer) error {
	for {
		got, err := stream.Recv(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch request := got.([]byte); method {
		case "Fail":
			return status.Err(codes.Code(request[0]), "50% schön")
		case "Echo":
			err = stream.Send(ctx, request)
		default:
			err = stream.Send(ctx, append([]byte("re: "), request...))
		}
		if err != nil {
			return err
		}
	}
}

func serve() {
	address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: config.Serve}
	options := []server.Option{server.WithServiceAddr(address), server.WithExitWaitTime(time.Millisecond),
		server.WithMetaHandler(transmeta.ServerTTHeaderHandler),
		server.WithServerBasicInfo(&rpcinfo.EndpointBasicInfo{ServiceName: "acme"})}
	if config.Mux {
		options = append(options, server.WithMuxTransport())
	}
	service := &generic.ServiceV2{GenericCall: handle, BidiStreaming: chats}
	running := genericserver.NewServerV2(service, codec(), options...)
	go func() {
		for {
			if probe, err := net.Dial("tcp", address.String()); err == nil {
				probe.Close()
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		say(map[string]any{"port": config.Serve})
	}()
	must(running.Run())
}

func connect() genericclient.Client {
	options := []client.Option{client.WithHostPorts(fmt.Sprintf("127.0.0.1:%d", config.Port)), client.WithRPCTimeout(20 * time.Second),
		client.WithClientBasicInfo(&rpcinfo.EndpointBasicInfo{ServiceName: "caller"})}
	switch config.Transport {
	case "framed":
		options = append(options, client.WithTransportProtocol(transport.Framed))
	case "ttheader":
		options = append(options, client.WithTransportProtocol(transport.TTHeader))
	case "ttheader_framed":
		options = append(options, client.WithTransportProtocol(transport.TTHeaderFramed))
	case "grpc":
		options = append(options, client.WithTransportProtocol(transport.GRPC))
	}
	if strings.HasPrefix(config.Transport, "ttheader") {
		options = append(options, client.WithMetaHandler(transmeta.ClientTTHeaderHandler))
	}
	if config.Mux {
		options = append(options, client.WithMuxConnection(2))
	}
	made, err := genericclient.NewClient("acme", codec(), options...)
	must(err)
	return made
}

func invoke(ctx context.Context, made genericclient.Client, method, asked string) (any, error) {
	if config.Transport == "grpc" {
		got, err := made.GenericCall(ctx, method, []byte(asked))
		if err != nil {
			return nil, err
		}
		return string(got.([]byte)), nil
	}
	got, err := made.GenericCall(ctx, method, pack(asked))
	if err != nil {
		return nil, err
	}
	return unpack(got), nil
}

type command struct {
	Id, Calls, Threads, Count      int
	Operation, Method, Text, Color string
}

// load makes calls of all sizes, `threads` at once.
func load(made genericclient.Client, c command) map[string]any {
	var wrong atomic.Int64
	var group sync.WaitGroup
	said := map[string]int{}
	var mutex sync.Mutex
	method := "echo"
	if config.Transport == "grpc" {
		method = "Echo"
	}
	for t := range max(c.Threads, 1) {
		group.Go(func() {
			for i := range c.Calls {
				token := fmt.Sprintf("%d-%d-%s", t, i, strings.Repeat("x", i%300))
				got, err := invoke(context.Background(), made, method, token)
				if err != nil {
					mutex.Lock()
					said[err.Error()]++
					mutex.Unlock()
				} else if got != token {
					wrong.Add(1)
				}
			}
		})
	}
	group.Wait()
	return map[string]any{"wrong": wrong.Load(), "errors": said}
}

func chat(made genericclient.Client, count int) (any, error) {
	ctx := context.Background()
	stream, err := made.BidirectionalStreaming(ctx, "Chat")
	if err != nil {
		return nil, err
	}
	got := []string{}
	for i := range count {
		if err := stream.Send(ctx, []byte(fmt.Sprint(i))); err != nil {
			return nil, err
		}
		answer, err := stream.Recv(ctx)
		if err != nil {
			return nil, err
		}
		got = append(got, string(answer.([]byte)))
	}
	if err := stream.CloseSend(ctx); err != nil {
		return nil, err
	}
	if _, err := stream.Recv(ctx); err != io.EOF {
		return nil, fmt.Errorf("the end: %v", err)
	}
	return got, nil
}

func answer(id int, value any, err error) {
	if err == nil {
		say(map[string]any{"answer": id, "value": value})
		return
	}
	told := map[string]any{"answer": id, "error": "other", "message": err.Error()}
	var known *remote.TransError
	if business, is := kerrors.FromBizStatusError(err); is {
		told["error"], told["type"], told["message"], told["extra"] = "business", business.BizStatusCode(), business.BizMessage(), business.BizExtra()
	} else if s, is := status.FromError(err); is && config.Transport == "grpc" {
		told["error"], told["type"], told["message"] = "grpc", int(s.Code()), s.Message()
	} else if errors.As(err, &known) {
		told["error"], told["type"], told["message"] = "exception", known.TypeID(), known.Error()
	}
	say(told)
}

func main() {
	klog.SetLevel(klog.LevelFatal)
	must(json.Unmarshal([]byte(os.Args[1]), &config))
	if config.Serve != 0 {
		serve()
		return
	}
	made := connect()
	say(map[string]any{"ready": true})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c command
		must(json.Unmarshal(lines.Bytes(), &c))
		switch c.Operation {
		case "load":
			answer(c.Id, load(made, c), nil)
		case "chat":
			got, err := chat(made, c.Count)
			answer(c.Id, got, err)
		default:
			ctx := context.Background()
			if c.Color != "" {
				ctx = metainfo.WithPersistentValue(ctx, "color", c.Color)
			}
			got, err := invoke(ctx, made, c.Method, c.Text)
			answer(c.Id, got, err)
		}
	}
}
