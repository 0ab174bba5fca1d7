"""proto"""
from __future__ import annotations
from functools import lru_cache
import numpy as np
from shared.phantom.anatomy.vertebra import VertebraShape, lumbar_distance, thoracic_distance, LUMBAR_BODY, THORACIC_BODY, _height_at
from shared.phantom.solids.distance import Floats, floats, smoothstep, vector
from shared.phantom.solids.template import Template, sample_template
from shared.phantom.solids.bone import Bone

def traits(body, lumbar):
    a, b, height = body
    def f(p, d):
        x, y, z = p.T
        behind = smoothstep(y, b - 1.0, b + 4.0)
        ends = smoothstep(np.abs(z), height/2 - 4, height/2 - 1.5) * (1 - behind)
        thick = 0.42 + 0.14*ends + behind*(0.35 if lumbar else .25)
        core = 1 + 0.35*smoothstep(np.abs(z), height/2-6, height/2-1) + .4*smoothstep(y, b, b+4)
        return np.stack([thick, core], axis=1).astype(np.float32)
    return f

@lru_cache(maxsize=2)
def template(lumbar: bool) -> Template:
    if lumbar:
        return sample_template(lumbar_distance, (-52, -24, -34), (52, 76, 38), traits(LUMBAR_BODY, True))
    return sample_template(thoracic_distance, (-40, -20, -24), (40, 66, 38), traits(THORACIC_BODY, False))

def unbend(shape: VertebraShape, body):
    a, b, height = body
    sx, sy = np.float32(shape.width/2/a), np.float32(shape.depth/2/b)
    k = np.float32(1 + .5*(shape.process-1))
    grown = np.float32(shape.healthy/height)
    us = np.linspace(-1, 1, 65).astype(np.float32)
    loss = _height_at(us, shape)/np.float32(shape.healthy)
    up = floats(1-(1-loss)*(2*shape.collapse)); lo = floats(1-(1-loss)*(2*(1-shape.collapse)))
    def f(x, y, z):
        v = y/sy
        v = np.where(v > b, b + (v-b)/k, v)
        behind = smoothstep(v, b-3.0, b+5.0)
        idx = np.clip((v/np.float32(b)+1)*32+np.float32(.5), 0, 64).astype(np.int32)
        factor = np.where(z < 0, up[idx], lo[idx])
        factor = (1-behind)*factor + behind
        gz = grown*factor
        w = z/gz
        rims = np.clip((np.abs(w)*np.float32(2/height)-np.float32(.55))*np.float32(1/.45), 0, 1)*(1-behind)
        gx = sx*(1+np.float32(shape.flare)*rims)
        u = x/gx
        au = np.abs(u)
        u = np.where(au > a, np.copysign(a+(au-a)/np.float32(shape.process), u), u)
        gy = np.broadcast_to(sy, gx.shape)
        return u, v, w, gx, gy, gz
    return f

def make(shape, rotation, centre, cortex=1.0, core=0.13, texture=None):
    lumbar = shape.level.startswith("L") or shape.level in ("T11","T12")
    body = LUMBAR_BODY if lumbar else THORACIC_BODY
    return Bone(shape.level, template(lumbar), centre, rotation, unbend(shape, body), 85.0 if lumbar else 72., cortex, core, texture)
