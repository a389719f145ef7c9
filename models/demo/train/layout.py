"""The demo model's networks, with the tensor names and shapes of Stable Diffusion 1.x checkpoints, to train it with.

Written from the papers and the layout of the checkpoints: latent diffusion (arXiv:2112.10752), its UNet
(arXiv:2105.05233), CLIP's text encoder (arXiv:2103.00020).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

# What models/demo/demo.yaml says.
UNET = dict(model_channels=64, channel_mult=[1, 1, 2], attention_resolutions=[2, 4], num_res_blocks=1, num_heads=4)
VAE = dict(ch=64, ch_mult=[1, 1, 1, 1], num_res_blocks=1)
TEXT = dict(width=32, layers=4)
TOKENS, VOCABULARY = 77, 49408


def norm(channels, eps):
    return nn.GroupNorm(32, channels, eps=eps)


def conv(c_in, c_out, stride=1, padding=1):
    return nn.Conv2d(c_in, c_out, 3, stride, padding)


# ---------------------------------------------------------------------------------------------------------------- VAE


class VaeBlock(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.norm1, self.conv1 = norm(c_in, 1e-6), conv(c_in, c_out)
        self.norm2, self.conv2 = norm(c_out, 1e-6), conv(c_out, c_out)
        if c_in != c_out:
            self.nin_shortcut = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + h


class VaeAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm = norm(c, 1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(c, c, 1) for _ in range(4))

    def forward(self, x):
        b, c, h, w = x.shape
        y = self.norm(x)
        q, k, v = (f(y).flatten(2).transpose(1, 2)[:, None] for f in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).reshape(b, c, h, w)
        return x + self.proj_out(y)


class Resample(nn.Module):
    """Half or twice the size: `conv` of the autoencoder, `op` or `conv` of the UNet."""

    def __init__(self, c, up, name="conv", padding=1):
        super().__init__()
        self.up, self.name, self.padding = up, name, padding
        setattr(self, name, conv(c, c) if up else conv(c, c, 2, padding))

    def forward(self, x):
        if self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        elif not self.padding:
            x = F.pad(x, (0, 1, 0, 1))
        return getattr(self, self.name)(x)


def level(**parts):
    module = nn.Module()
    for name, part in parts.items():
        setattr(module, name, part)
    return module


class Encoder(nn.Module):
    def __init__(self, ch, ch_mult, num_res_blocks):
        super().__init__()
        self.conv_in = conv(3, ch)
        self.down, c = nn.ModuleList(), ch
        for i, mult in enumerate(ch_mult):
            blocks = nn.ModuleList()
            for _ in range(num_res_blocks):
                blocks.append(VaeBlock(c, ch * mult))
                c = ch * mult
            this = level(block=blocks)
            if i + 1 < len(ch_mult):
                this.downsample = Resample(c, up=False, padding=0)
            self.down.append(this)
        self.mid = level(block_1=VaeBlock(c, c), attn_1=VaeAttention(c), block_2=VaeBlock(c, c))
        self.norm_out, self.conv_out = norm(c, 1e-6), conv(c, 8)

    def forward(self, x):
        x = self.conv_in(x)
        for this in self.down:
            for block in this.block:
                x = block(x)
            if hasattr(this, "downsample"):
                x = this.downsample(x)
        x = self.mid.block_2(self.mid.attn_1(self.mid.block_1(x)))
        return self.conv_out(F.silu(self.norm_out(x)))


class Decoder(nn.Module):
    def __init__(self, ch, ch_mult, num_res_blocks):
        super().__init__()
        c = ch * ch_mult[-1]
        self.conv_in = conv(4, c)
        self.mid = level(block_1=VaeBlock(c, c), attn_1=VaeAttention(c), block_2=VaeBlock(c, c))
        ups = []
        for i, mult in reversed(list(enumerate(ch_mult))):
            blocks = nn.ModuleList()
            for _ in range(num_res_blocks + 1):
                blocks.append(VaeBlock(c, ch * mult))
                c = ch * mult
            this = level(block=blocks)
            if i > 0:
                this.upsample = Resample(c, up=True)
            ups.append(this)
        self.up = nn.ModuleList(reversed(ups))
        self.norm_out, self.conv_out = norm(c, 1e-6), conv(c, 3)

    def forward(self, x):
        x = self.conv_in(x)
        x = self.mid.block_2(self.mid.attn_1(self.mid.block_1(x)))
        for this in reversed(self.up):
            for block in this.block:
                x = block(x)
            if hasattr(this, "upsample"):
                x = this.upsample(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Autoencoder(nn.Module):
    """Pictures (B, 3, H, W) in −1..1 ↔ latents (B, 4, H/8, W/8)."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(**VAE), Decoder(**VAE)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(8, 8, 1), nn.Conv2d(4, 4, 1)
        for half in (self.encoder, self.decoder):
            # Attention starts as nothing, and learns what it is good for.
            nn.init.zeros_(half.mid.attn_1.proj_out.weight), nn.init.zeros_(half.mid.attn_1.proj_out.bias)

        # Latents start with little noise, and so with something to learn from.
        nn.init.constant_(self.quant_conv.bias[4:], -6.0)

    def encode(self, x):
        """Mean and log variance of the latents."""
        return self.quant_conv(self.encoder(x)).float().chunk(2, 1)

    def decode(self, z):
        return self.decoder(self.post_quant_conv(z))


# --------------------------------------------------------------------------------------------------------------- UNet


class ResBlock(nn.Module):
    def __init__(self, c_in, c_out, time):
        super().__init__()
        self.in_layers = nn.Sequential(norm(c_in, 1e-5), nn.SiLU(), conv(c_in, c_out))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, c_out))
        self.out_layers = nn.Sequential(norm(c_out, 1e-5), nn.SiLU(), nn.Identity(), conv(c_out, c_out))
        nn.init.zeros_(self.out_layers[3].weight), nn.init.zeros_(self.out_layers[3].bias)
        self.skip_connection = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x, emb, context):
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class Attention(nn.Module):
    def __init__(self, c, c_context, heads):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(c, c, bias=False)
        self.to_k = nn.Linear(c_context, c, bias=False)
        self.to_v = nn.Linear(c_context, c, bias=False)
        self.to_out = nn.Sequential(nn.Linear(c, c), nn.Identity())

    def forward(self, x, context):
        split = lambda y: y.unflatten(2, (self.heads, -1)).transpose(1, 2)
        q, k, v = split(self.to_q(x)), split(self.to_k(context)), split(self.to_v(context))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.net = nn.Sequential(level(proj=nn.Linear(c, 8 * c)), nn.Identity(), nn.Linear(4 * c, c))

    def forward(self, x):
        value, gate = self.net[0].proj(x).chunk(2, 2)
        return self.net[2](value * F.gelu(gate))


class TransformerBlock(nn.Module):
    def __init__(self, c, c_context, heads):
        super().__init__()
        self.attn1, self.attn2 = Attention(c, c, heads), Attention(c, c_context, heads)
        self.ff = FeedForward(c)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(c), nn.LayerNorm(c), nn.LayerNorm(c)

    def forward(self, x, context):
        y = self.norm1(x)
        x = x + self.attn1(y, y)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    def __init__(self, c, c_context, heads):
        super().__init__()
        self.norm = norm(c, 1e-6)
        self.proj_in, self.proj_out = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(c, c_context, heads)])
        nn.init.zeros_(self.proj_out.weight), nn.init.zeros_(self.proj_out.bias)

    def forward(self, x, emb, context):
        h = self.proj_in(self.norm(x))
        h = self.transformer_blocks[0](h.flatten(2).transpose(1, 2), context)
        return x + self.proj_out(h.transpose(1, 2).unflatten(2, x.shape[2:]))


class Plain(nn.Module):
    """A layer that needs neither time nor context, under its own name."""

    def __init__(self, name, layer):
        super().__init__()
        self.name = name
        setattr(self, name, layer)

    def forward(self, x, emb, context):
        if self.name == "conv":
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return getattr(self, self.name)(x)


class ConvIn(nn.Conv2d):
    def forward(self, x, emb, context):
        return super().forward(x)


class UNet(nn.Module):
    """The noise in latents (B, 4, h, w), given timesteps (B,) and context (B, 77, C)."""

    def __init__(self):
        super().__init__()
        base, mults, depth, heads = (UNET[k] for k in ("model_channels", "channel_mult", "num_res_blocks", "num_heads"))
        attention, c_context, time = UNET["attention_resolutions"], TEXT["width"], 4 * base
        self.base = base
        self.time_embed = nn.Sequential(nn.Linear(base, time), nn.SiLU(), nn.Linear(time, time))
        self.input_blocks = nn.ModuleList([nn.ModuleList([ConvIn(4, base, 3, padding=1)])])
        c, skips = base, [base]
        for i, mult in enumerate(mults):
            for _ in range(depth):
                layers = [ResBlock(c, base * mult, time)]
                c = base * mult
                if 1 << i in attention:
                    layers.append(SpatialTransformer(c, c_context, heads))
                self.input_blocks.append(nn.ModuleList(layers))
                skips.append(c)
            if i + 1 < len(mults):
                self.input_blocks.append(nn.ModuleList([Plain("op", conv(c, c, 2))]))
                skips.append(c)
        self.middle_block = nn.ModuleList(
            [ResBlock(c, c, time), SpatialTransformer(c, c_context, heads), ResBlock(c, c, time)])
        self.output_blocks = nn.ModuleList()
        for i, mult in reversed(list(enumerate(mults))):
            for j in range(depth + 1):
                layers = [ResBlock(c + skips.pop(), base * mult, time)]
                c = base * mult
                if 1 << i in attention:
                    layers.append(SpatialTransformer(c, c_context, heads))
                if i > 0 and j == depth:
                    layers.append(Plain("conv", conv(c, c)))
                self.output_blocks.append(nn.ModuleList(layers))
        self.out = nn.Sequential(norm(c, 1e-5), nn.SiLU(), conv(c, 4))
        nn.init.zeros_(self.out[2].weight), nn.init.zeros_(self.out[2].bias)

    def forward(self, x, timesteps, context):
        half = self.base // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=x.device) / half)
        angles = timesteps[:, None].float() * frequencies
        emb = self.time_embed(torch.cat([angles.cos(), angles.sin()], 1))
        skips = []
        for layers in self.input_blocks:
            for layer in layers:
                x = layer(x, emb, context)
            skips.append(x)
        for layer in self.middle_block:
            x = layer(x, emb, context)
        for layers in self.output_blocks:
            x = torch.cat([x, skips.pop()], 1)
            for layer in layers:
                x = layer(x, emb, context)
        return self.out(x)


# --------------------------------------------------------------------------------------------------------------- text


class TextLayer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.self_attn = level(**{f"{n}_proj": nn.Linear(width, width) for n in ("q", "k", "v", "out")})
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = level(fc1=nn.Linear(width, 4 * width), fc2=nn.Linear(4 * width, width))
        self.heads = max(width // 64, 1)

    def forward(self, x):
        y, attn = self.layer_norm1(x), self.self_attn
        q, k, v = (f(y).unflatten(2, (self.heads, -1)).transpose(1, 2) for f in (attn.q_proj, attn.k_proj, attn.v_proj))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + attn.out_proj(y)
        y = self.mlp.fc1(self.layer_norm2(x))
        return x + self.mlp.fc2(y * torch.sigmoid(1.702 * y))


class TextEncoder(nn.Module):
    """Tokens (B, 77) → context (B, 77, C)."""

    def __init__(self):
        super().__init__()
        width = TEXT["width"]
        self.embeddings = level(token_embedding=nn.Embedding(VOCABULARY, width),
                                position_embedding=nn.Embedding(TOKENS, width))
        nn.init.normal_(self.embeddings.token_embedding.weight, std=0.3)
        nn.init.normal_(self.embeddings.position_embedding.weight, std=0.1)
        self.encoder = level(layers=nn.ModuleList([TextLayer(width) for _ in range(TEXT["layers"])]))
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, tokens):
        x = self.embeddings.token_embedding(tokens) + self.embeddings.position_embedding.weight[:tokens.shape[1]]
        for layer in self.encoder.layers:
            x = layer(x)
        return self.final_layer_norm(x)
