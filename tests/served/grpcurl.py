"""Stands in for the program grpcurl, which not every machine has: the options that the README uses, and one unary call.

It knows no message but those of the protoset that it is given.
"""

import argparse
import sys
from pathlib import Path

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass


def main() -> None:
    parser = argparse.ArgumentParser(prog="grpcurl", allow_abbrev=False)
    parser.add_argument("-plaintext", action="store_true", required=True)
    parser.add_argument("-max-msg-sz", type=int, required=True)
    parser.add_argument("-protoset", type=Path, required=True)
    parser.add_argument("-d", choices=["@"], required=True)
    parser.add_argument("address")
    parser.add_argument("method")
    options = parser.parse_args()
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(options.protoset.read_bytes()).file:
        pool.Add(file)
    service, _, name = options.method.partition("/")
    method = pool.FindServiceByName(service).methods_by_name[name]
    request = json_format.Parse(sys.stdin.read(), GetMessageClass(method.input_type)())
    limits = [("grpc.max_receive_message_length", options.max_msg_sz)]
    with grpc.insecure_channel(options.address, options=limits) as channel:
        call = channel.unary_unary(
            f"/{options.method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        print(json_format.MessageToJson(call(request)))


if __name__ == "__main__":
    main()
