// Command thrift-go is both ends of peers/echo.thrift with Apache Thrift for Go. Its argument is JSON: transport (framed, buffered,
// header, header-zlib), protocol (binary, compact), service (for the multiplexed protocol), serve (a port) or port. A client takes the
// commands call(method, text, headers) and load(calls, threads). The package echo is generated when it is built.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"

	"dragoman/interop/thrift/echo"

	"github.com/apache/thrift/lib/go/thrift"
)

var config struct {
	Transport, Protocol, Service string
	Serve, Port                  int
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

func factories() (thrift.TTransportFactory, thrift.TProtocolFactory) {
	settings := &thrift.TConfiguration{}
	header := strings.HasPrefix(config.Transport, "header")
	if header {
		id := thrift.THeaderProtocolBinary
		if config.Protocol == "compact" {
			id = thrift.THeaderProtocolCompact
		}
		settings.THeaderProtocolID = thrift.THeaderProtocolIDPtrMust(id)
		return thrift.NewTHeaderTransportFactoryConf(nil, settings), thrift.NewTHeaderProtocolFactoryConf(settings)
	}
	transport := thrift.NewTTransportFactory()
	if config.Transport == "framed" {
		transport = thrift.NewTFramedTransportFactoryConf(transport, settings)
	} else {
		transport = thrift.NewTBufferedTransportFactory(8192)
	}
	if config.Protocol == "compact" {
		return transport, thrift.NewTCompactProtocolFactoryConf(settings)
	}
	return transport, thrift.NewTBinaryProtocolFactoryConf(settings)
}

type handler struct {
	mutex sync.Mutex
	notes []string
}

func (h *handler) Echo(_ context.Context, text string) (string, error) { return text, nil }

func (h *handler) Fail(context.Context) (string, error) { return "", &echo.Failed{Why: "because"} }

func (h *handler) Broken(context.Context) (string, error) { return "", errors.New("broken") }

func (h *handler) Note(_ context.Context, text string) error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.notes = append(h.notes, text)
	return nil
}

func (h *handler) Noted(context.Context) ([]string, error) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return append([]string{}, h.notes...), nil
}

func serve() {
	transports, protocols := factories()
	socket, err := thrift.NewTServerSocket(fmt.Sprintf("127.0.0.1:%d", config.Serve))
	must(err)
	must(socket.Listen())
	var processor thrift.TProcessor = echo.NewEchoProcessor(&handler{})
	if config.Service != "" {
		several := thrift.NewTMultiplexedProcessor()
		several.RegisterProcessor(config.Service, processor)
		processor = several
	}
	say(map[string]any{"port": config.Serve})
	must(thrift.NewTSimpleServer4(processor, socket, transports, protocols).Serve())
}

func connect() *echo.EchoClient {
	transports, protocols := factories()
	transport, err := transports.GetTransport(thrift.NewTSocketConf(fmt.Sprintf("127.0.0.1:%d", config.Port), &thrift.TConfiguration{}))
	must(err)
	must(transport.Open())
	protocol := protocols.GetProtocol(transport)
	if config.Transport == "header-zlib" {
		must(protocol.(*thrift.THeaderProtocol).AddTransform(thrift.TransformZlib))
	}
	if config.Service != "" {
		return echo.NewEchoClientProtocol(transport, protocol, thrift.NewTMultiplexedProtocol(protocol, config.Service))
	}
	return echo.NewEchoClientProtocol(transport, protocol, protocol)
}

type command struct {
	Id, Calls, Threads      int
	Operation, Method, Text string
	Headers                 map[string]string
}

func call(client *echo.EchoClient, c command) (any, error) {
	ctx := context.Background()
	var names []string
	for name, value := range c.Headers {
		ctx = thrift.SetHeader(ctx, name, value)
		names = append(names, name)
	}
	if names != nil {
		ctx = thrift.SetWriteHeaderList(ctx, names)
	}
	switch c.Method {
	case "echo":
		return client.Echo(ctx, c.Text)
	case "fail":
		return client.Fail(ctx)
	case "broken":
		return client.Broken(ctx)
	case "note":
		return nil, client.Note(ctx, c.Text)
	default:
		return client.Noted(ctx)
	}
}

// load makes calls from several connections, one after the other on each.
func load(calls, threads int) map[string]any {
	var wrong atomic.Int64
	var group sync.WaitGroup
	for t := range max(threads, 1) {
		group.Go(func() {
			client := connect()
			for i := range calls {
				token := fmt.Sprintf("%d-%d-%s", t, i, strings.Repeat("x", i%300))
				if got, err := client.Echo(context.Background(), token); err != nil || got != token {
					wrong.Add(1)
				}
			}
		})
	}
	group.Wait()
	return map[string]any{"calls": calls, "wrong": wrong.Load()}
}

func answer(id int, value any, err error) {
	if err == nil {
		say(map[string]any{"answer": id, "value": value})
		return
	}
	told := map[string]any{"answer": id, "error": strings.TrimPrefix(reflect.TypeOf(err).String(), "*"), "message": err.Error()}
	var failed *echo.Failed
	var application thrift.TApplicationException
	if errors.As(err, &failed) {
		told["error"], told["message"] = "Failed", failed.Why
	} else if errors.As(err, &application) {
		told["error"], told["type"] = "TApplicationException", application.TypeId()
	}
	say(told)
}

func main() {
	must(json.Unmarshal([]byte(os.Args[1]), &config))
	if config.Serve != 0 {
		serve()
		return
	}
	client := connect()
	say(map[string]any{"ready": true})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c command
		must(json.Unmarshal(lines.Bytes(), &c))
		if c.Operation == "load" {
			answer(c.Id, load(c.Calls, c.Threads), nil)
			continue
		}
		value, err := call(client, c)
		answer(c.Id, value, err)
	}
}
